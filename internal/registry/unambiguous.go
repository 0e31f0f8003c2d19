package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/jsonname"
)

// shape names the keys that have a meaning in a JSON object, and the shapes of the objects below
// them. A list has the shape of its elements.
type shape struct {
	names map[string]*shape
	// folded maps what [jsonname.Fold] makes of a key to the key.
	folded map[string]string
	// loose objects may spell their keys freely, once each.
	loose bool
}

func newShape(names string, inner map[string]*shape) *shape {
	s := &shape{names: map[string]*shape{}, folded: map[string]string{}}
	for _, name := range strings.Fields(names) {
		s.names[name] = nil
	}
	for name, below := range inner {
		s.names[name] = below
	}
	for name := range s.names {
		s.folded[jsonname.Fold(name)] = name
	}
	return s
}

const platformNames = "os architecture variant os.version os.features"

var (
	shapePlatform   = newShape(platformNames, nil)
	shapeDescriptor = newShape("mediaType artifactType digest size urls data annotations",
		map[string]*shape{"platform": shapePlatform})
	shapeManifest = newShape("schemaVersion mediaType artifactType fsLayers annotations",
		map[string]*shape{
			"config": shapeDescriptor, "layers": shapeDescriptor, "manifests": shapeDescriptor,
			"subject": shapeDescriptor,
		})
	shapeConfig = newShape(platformNames, map[string]*shape{
		"rootfs": newShape("type diff_ids", nil), "config": {loose: true},
	})
	shapeTags = newShape("tags", nil)
)

// checkUnambiguous refuses JSON that two readers may interpret differently: a key that occurs twice
// in an object, of which one reader takes the first and another the last; and a known key in
// another spelling, which Go accepts and other readers do not.
func checkUnambiguous(raw []byte, s *shape) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := s.check(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

const maxDepth = 32

func (s *shape) check(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("JSON nested deeper than %d", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return notJSON(err)
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		below := s
		if open == '{' {
			if below, err = s.name(dec, seen); err != nil {
				return err
			}
		}
		if err := below.check(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing bracket
		return notJSON(err)
	}
	return nil
}

// name reads a key and returns the shape of its value.
func (s *shape) name(dec *json.Decoder, seen map[string]bool) (*shape, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, notJSON(err)
	}
	name, ok := token.(string)
	if !ok {
		return nil, errors.New("not JSON")
	}
	key := name
	if s != nil {
		key = jsonname.Fold(name)
	}
	if seen[key] {
		return nil, fmt.Errorf("%q occurs twice in one JSON object", pratique.Clip(name))
	}
	seen[key] = true
	if s == nil || s.loose {
		return nil, nil
	}
	if meant, means := s.folded[key]; means && meant != name {
		return nil, fmt.Errorf("%q is another spelling of %q", pratique.Clip(name), meant)
	}
	return s.names[name], nil
}

func notJSON(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("not JSON: %w", err)
}
