package registry

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// Resolve finds out what a ref means now: by its digest if it has one, else by its tag. The manifest is read
// once and hashed; of an index every platform image is listed, and of a single image the platform is read
// from its configuration. What is not a container image comes back with NotImage set, not as an error.
// The subject bears the configured name of the registry, also if the ref used an alias.
func (c *Client) Resolve(ctx context.Context, ref pratique.ImageRef) (pratique.Manifest, error) {
	const op = "resolve image"
	if err := ref.Validate(); err != nil {
		return pratique.Manifest{}, pratique.Wrap(pratique.Invalid, op, clip(ref.String()), err)
	}
	t, err := c.target(ref.Repository)
	if err != nil {
		return pratique.Manifest{}, pratique.Wrap(pratique.Unknown, op, ref.String(), err)
	}
	id := ref.Tag
	if !ref.Digest.IsZero() {
		id = ref.Digest.String()
	}
	m, err := c.resolve(ctx, t, id, ref.Digest)
	return m, pratique.Wrap(pratique.Unknown, op, ref.String(), err)
}

func (c *Client) resolve(ctx context.Context, t target, id string, want pratique.Digest) (pratique.Manifest, error) {
	doc, err := c.manifest(ctx, t, id, want)
	if err != nil {
		return pratique.Manifest{}, err
	}
	m, err := parse(doc)
	if err != nil {
		return pratique.Manifest{}, err
	}
	found := pratique.Manifest{
		Subject:   pratique.Subject{Repository: t.repo, Digest: pratique.DigestOf(doc.raw)},
		MediaType: clip(m.MediaType),
		NotImage:  m.notImage(),
	}
	switch {
	case found.NotImage != "":
		return found, nil
	case m.isIndex():
		found.Children, err = c.children(ctx, t, m)
		if err == nil && len(found.Children) == 0 {
			found.NotImage = "index without a platform image"
		}
	default:
		found.Platform, err = c.platform(ctx, t, m)
	}
	if err != nil {
		return pratique.Manifest{}, err
	}
	return found, nil
}

// platform is what an image's configuration says. The layers are looked at too, so that an image that cannot
// be inspected is refused at once.
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

// children lists the platform images of an index. Left out is only what no runtime can choose or run: an
// annotation alone keeps nothing from being run, and so nothing from being inspected.
func (c *Client) children(ctx context.Context, t target, m manifest) ([]pratique.Child, error) {
	if len(m.Manifests) > c.limits.IndexChildren {
		return nil, pratique.Errorf(pratique.Exhausted, opParse, "index of %d manifests, the limit is %d", len(m.Manifests), c.limits.IndexChildren)
	}
	var children []pratique.Child
	for _, d := range m.Manifests {
		switch {
		case pratique.IsIndexType(d.MediaType):
			return nil, pratique.Errorf(pratique.Invalid, opParse, "an index within an index")
		case schema1(d.MediaType):
			return nil, pratique.Errorf(pratique.Invalid, opParse, "a docker schema 1 manifest within an index")
		case !pratique.IsManifestType(d.MediaType), d.Platform != nil && d.Platform.unknown():
			continue
		}
		digest, err := d.digest()
		if err != nil {
			return nil, err
		}
		child := pratique.Child{Digest: digest}
		if d.Platform != nil {
			child.Platform, err = d.Platform.text()
		}
		if err != nil {
			return nil, err
		}
		if child.Platform == "" {
			// Runtimes look into such a child, so we do.
			runs, platform, err := c.lookInto(ctx, t, digest)
			if err != nil {
				return nil, err
			}
			if !runs {
				continue
			}
			child.Platform = platform
		}
		if !slices.Contains(children, child) {
			children = append(children, child)
		}
	}
	return children, nil
}

func (c *Client) lookInto(ctx context.Context, t target, digest pratique.Digest) (runs bool, p pratique.Platform, err error) {
	doc, err := c.manifestOf(ctx, t, digest)
	if err != nil {
		return false, "", err
	}
	m, err := parse(doc)
	if err != nil {
		return false, "", err
	}
	if m.isIndex() {
		return false, "", pratique.Errorf(pratique.Invalid, opParse, "an index within an index")
	}
	if !m.runnable() {
		return false, "", nil
	}
	p, err = c.platform(ctx, t, m)
	return true, p, err
}

// Image reads the manifest and the configuration of one platform image and lists its layers, all within the
// limits. An index and what cannot be run are refused as Invalid.
func (c *Client) Image(ctx context.Context, subject pratique.Subject) (layers.Remote, error) {
	img, err := c.image(ctx, subject)
	return img, pratique.Wrap(pratique.Unknown, "read image", subject.String(), err)
}

func (c *Client) image(ctx context.Context, subject pratique.Subject) (layers.Remote, error) {
	t, err := c.target(subject.Repository)
	if err != nil {
		return layers.Remote{}, err
	}
	doc, err := c.manifestOf(ctx, t, subject.Digest)
	if err != nil {
		return layers.Remote{}, err
	}
	m, err := parse(doc)
	if err != nil {
		return layers.Remote{}, err
	}
	if m.isIndex() {
		return layers.Remote{}, pratique.Errorf(pratique.Invalid, opParse, "an index has no layers: inspect its children")
	}
	if !m.runnable() {
		return layers.Remote{}, pratique.Errorf(pratique.Invalid, opParse, "not a container image: %s", m.notImage())
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
	if err := cfg.name(descriptors); err != nil {
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

// descriptors checks the layers of an image manifest; their diff ids are still missing.
func (c *Client) descriptors(m manifest) ([]layers.Descriptor, error) {
	if len(m.Layers) > c.limits.Layers {
		return nil, pratique.Errorf(pratique.Exhausted, opParse, "%d layers, the limit is %d", len(m.Layers), c.limits.Layers)
	}
	var all []layers.Descriptor
	var sum int64
	for _, d := range m.Layers {
		digest, err := d.digest()
		if err != nil {
			return nil, err
		}
		if len(d.URLs) > 0 {
			return nil, pratique.Errorf(pratique.Invalid, opParse, "layer %s is to be fetched from elsewhere (%s): foreign layers are refused",
				digest, clip(strings.Join(d.URLs, " ")))
		}
		if !layers.Known(d.MediaType) {
			return nil, pratique.Errorf(pratique.Invalid, opParse, "layer %s is of type %q, not a layer of files", digest, clip(d.MediaType))
		}
		sum += d.Size
		if d.Size > c.limits.LayerBytes || sum > c.limits.ImageBytes || sum < 0 {
			return nil, pratique.Errorf(pratique.Exhausted, opParse, "layer %s of %d bytes, %d so far: the limits are %d for a layer and %d for an image",
				digest, d.Size, sum, c.limits.LayerBytes, c.limits.ImageBytes)
		}
		all = append(all, layers.Descriptor{Digest: digest, MediaType: d.MediaType, Size: d.Size})
	}
	return all, nil
}

// config is the part of an image's configuration that says what its layers are.
type config struct {
	platform
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

func parseConfig(raw []byte) (config, error) {
	var cfg config
	err := unambiguous(raw)
	if err == nil {
		err = json.Unmarshal(raw, &cfg)
	}
	if err == nil && cfg.RootFS.Type != "" && cfg.RootFS.Type != "layers" {
		err = errors.New("the root file system is not made of layers")
	}
	return cfg, pratique.Wrap(pratique.Invalid, "read image configuration", "", err)
}

// name gives each layer its diff id.
func (c config) name(all []layers.Descriptor) error {
	const op = "read image configuration"
	if len(c.RootFS.DiffIDs) != len(all) {
		return pratique.Errorf(pratique.Invalid, op, "%d diff ids for %d layers", len(c.RootFS.DiffIDs), len(all))
	}
	for i, text := range c.RootFS.DiffIDs {
		d, err := pratique.ParseDigest(text)
		if err != nil {
			return pratique.Wrap(pratique.Invalid, op, "", err)
		}
		all[i].DiffID = d
	}
	return nil
}
