package registry

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// Resolve resolves a reference, by its digest if it has one, otherwise by its tag. The manifest is
// read once and hashed. For an index, the result lists every image for a configured platform, and
// the entries that could not be inspected; for a single image, the platform comes from its
// configuration. If it is not a container image, NotImage is set; that is not an error. The subject
// has the registry's configured name, even if the reference used an alias.
func (c *Client) Resolve(ctx context.Context, ref pratique.ImageRef) (pratique.Manifest, error) {
	const op = "resolve image"
	if err := ref.Validate(); err != nil {
		return pratique.Manifest{}, pratique.Wrap(pratique.Invalid, op, pratique.Clip(ref.String()), err)
	}
	t, err := c.target(ref.Repository)
	if err != nil {
		return pratique.Manifest{}, pratique.Wrap(pratique.Unknown, op, ref.String(), err)
	}
	m, err := c.resolve(ctx, t, ref.Tag, ref.ContentID())
	return m, pratique.Wrap(pratique.Unknown, op, ref.String(), err)
}

// resolve uses the id if there is one, otherwise the tag.
func (c *Client) resolve(ctx context.Context, t target, tag string,
	id pratique.ContentID) (pratique.Manifest, error) {
	if !id.IsZero() {
		tag = id.String()
	}
	doc, err := c.manifest(ctx, t, tag, id)
	if err == nil {
		err = c.requireSHA256(ctx, t, doc, id)
	}
	if err != nil {
		return pratique.Manifest{}, err
	}
	m, err := parse(doc)
	if err != nil {
		return pratique.Manifest{}, err
	}
	found := pratique.Manifest{
		Subject:   pratique.Subject{Repository: t.repo, Digest: pratique.DigestOf(doc.raw)},
		MediaType: pratique.Clip(m.MediaType),
		NotImage:  m.notImage(),
	}
	switch {
	case found.NotImage != "":
		return found, nil
	case m.isIndex():
		err = c.list(ctx, t, m, &found)
	default:
		found.Platform, err = c.platform(ctx, t, m)
	}
	if err != nil {
		return pratique.Manifest{}, err
	}
	return found, nil
}

// platform reads the platform from an image's configuration. It checks the layers too, so that an
// image that cannot be inspected is refused early.
func (c *Client) platform(ctx context.Context, t target, m manifest) (pratique.Platform, error) {
	if _, err := c.descriptors(m); err != nil {
		return "", err
	}
	raw, err := c.config(ctx, t, *m.Config)
	if err != nil {
		return "", err
	}
	cfg, err := parseConfig(raw)
	if err != nil {
		return "", err
	}
	return cfg.text()
}

// list reads the entries of an index.
func (c *Client) list(ctx context.Context, t target, m manifest, found *pratique.Manifest) error {
	r := &indexReader{client: c, target: t}
	all, err := r.index(ctx, m, platform{}, 1)
	if err != nil {
		return err
	}
	found.Children, found.Uninspected = all.children, all.uninspected
	switch {
	case len(all.children)+len(all.uninspected) > 0:
		return nil
	case all.unwanted > 0:
		return pratique.Errorf(pratique.Invalid, opParse,
			"the index has none of the platforms %v that are configured", c.platforms)
	}
	found.NotImage = "index without a platform image"
	return nil
}

// Image reads the manifest and the configuration of a platform image and lists its layers, within
// the limits. An index, and anything that cannot be run, is Invalid.
func (c *Client) Image(ctx context.Context, subject pratique.Subject) (layers.Remote, error) {
	img, err := c.image(ctx, subject)
	return img, pratique.Wrap(pratique.Unknown, "read image", subject.String(), err)
}

func (c *Client) image(ctx context.Context, subject pratique.Subject) (layers.Remote, error) {
	t, err := c.target(subject.Repository)
	if err != nil {
		return layers.Remote{}, err
	}
	doc, err := c.manifestOf(ctx, t, subject.Digest.ContentID())
	if err != nil {
		return layers.Remote{}, err
	}
	m, err := parse(doc)
	if err != nil {
		return layers.Remote{}, err
	}
	if m.isIndex() {
		return layers.Remote{}, pratique.Errorf(pratique.Invalid, opParse,
			"an index has no layers: inspect its children")
	}
	if !m.runnable() {
		return layers.Remote{}, pratique.Errorf(pratique.Invalid, opParse,
			"not a container image: %s", m.notImage())
	}
	descriptors, err := c.descriptors(m)
	if err != nil {
		return layers.Remote{}, err
	}
	raw, err := c.config(ctx, t, *m.Config)
	if err != nil {
		return layers.Remote{}, err
	}
	cfg, err := parseConfig(raw)
	if err != nil {
		return layers.Remote{}, err
	}
	if err := cfg.setDiffIDs(descriptors); err != nil {
		return layers.Remote{}, err
	}
	p, err := cfg.text()
	if err != nil {
		return layers.Remote{}, err
	}
	return layers.Remote{
		Subject:  pratique.Subject{Repository: t.repo, Digest: subject.Digest},
		Platform: p, MediaType: m.MediaType, Manifest: doc.raw, Config: raw, Layers: descriptors,
	}, nil
}

// descriptors checks the layers of an image manifest. Their diff ids are set later.
func (c *Client) descriptors(m manifest) ([]layers.Descriptor, error) {
	if len(m.Layers) > c.limits.Layers {
		return nil, pratique.Errorf(pratique.Exhausted, opParse,
			"%d layers, the limit is %d (inspect.layers)", len(m.Layers), c.limits.Layers)
	}
	var all []layers.Descriptor
	var sum int64
	for _, d := range m.Layers {
		id, err := d.id()
		if err != nil {
			return nil, err
		}
		if len(d.URLs) > 0 {
			return nil, pratique.Errorf(pratique.Invalid, opParse,
				"layer %s is a foreign layer, as in Windows images, to be fetched from %s: foreign layers are not read",
				id, pratique.Clip(strings.Join(d.URLs, " ")))
		}
		if !layers.IsLayerType(d.MediaType) {
			return nil, pratique.Errorf(pratique.Invalid, opParse,
				"layer %s is of type %q, not a layer of files", id, pratique.Clip(d.MediaType))
		}
		sum += d.Size
		if d.Size > c.limits.LayerBytes || sum > c.limits.ImageBytes || sum < 0 {
			return nil, pratique.Errorf(pratique.Exhausted, opParse,
				"layer %s of %d bytes, %d so far: the limits are %d for a layer and %d for an image",
				id, d.Size, sum, c.limits.LayerBytes, c.limits.ImageBytes)
		}
		layer := layers.Descriptor{MediaType: d.MediaType, Size: d.Size, Annotations: d.Annotations}
		layer.Digest, layer.DigestName = layers.DigestFor(id)
		all = append(all, layer)
	}
	return all, nil
}

// config is the part of an image's configuration that describes its layers.
type config struct {
	platform
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

func parseConfig(raw []byte) (config, error) {
	var cfg config
	err := checkUnambiguous(raw, shapeConfig)
	if err == nil {
		err = json.Unmarshal(raw, &cfg)
	}
	if err == nil && cfg.RootFS.Type != "" && cfg.RootFS.Type != "layers" {
		err = errors.New("the root file system is not made of layers")
	}
	return cfg, pratique.Wrap(pratique.Invalid, "read image configuration", "", err)
}

// setDiffIDs gives each layer its diff id.
func (c config) setDiffIDs(all []layers.Descriptor) error {
	const op = "read image configuration"
	if len(c.RootFS.DiffIDs) != len(all) {
		return pratique.Errorf(pratique.Invalid, op, "%d diff ids for %d layers",
			len(c.RootFS.DiffIDs), len(all))
	}
	for i, text := range c.RootFS.DiffIDs {
		id, err := pratique.ParseContentID(text)
		if err != nil {
			return pratique.Wrap(pratique.Invalid, op, "", err)
		}
		all[i].DiffID, all[i].DiffIDName = layers.DigestFor(id)
	}
	return nil
}
