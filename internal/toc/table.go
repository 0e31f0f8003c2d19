package toc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"slices"

	"github.com/pratique-dev/pratique"
)

// entry is an entry of a table, with the fields that both formats have.
type entry struct {
	Type     string            `json:"type"`
	Name     string            `json:"name"`
	LinkName string            `json:"linkName"`
	Mode     int64             `json:"mode"`
	Size     int64             `json:"size"`
	UID      int               `json:"uid"`
	GID      int               `json:"gid"`
	DevMajor int64             `json:"devMajor"`
	DevMinor int64             `json:"devMinor"`
	Xattrs   map[string][]byte `json:"xattrs"`

	Digest      string `json:"digest"`
	Offset      int64  `json:"offset"`
	InnerOffset int64  `json:"innerOffset"`
	ChunkOffset int64  `json:"chunkOffset"`
	ChunkSize   int64  `json:"chunkSize"`
	ChunkDigest string `json:"chunkDigest"`
	ChunkType   string `json:"chunkType"`
}

// meaningful are the relevant names in a table and in its entries. Readers differ in how they treat
// another spelling, or a duplicate.
var meaningful = []string{
	"entries", "type", "name", "linkName", "mode", "size", "uid", "gid", "devMajor", "devMinor",
	"xattrs", "digest", "offset", "endOffset",
	"innerOffset", "chunkOffset", "chunkSize", "chunkDigest", "chunkType", "version", "tarSplitDigest",
}

// maxFields bounds the names in an object of a table. The formats have about 20.
const maxFields = 100

// table reads the entries of a table one by one.
type table struct {
	dec   *json.Decoder
	input *boundedReader
	sum   hash.Hash
	open  bool
	seen  []string
	ahead *entry // read but not consumed
	last  bool
}

func newTable(ctx context.Context, r io.Reader) *table {
	t := &table{input: &boundedReader{ctx: ctx, r: r}, sum: sha256.New()}
	t.dec = json.NewDecoder(io.TeeReader(t.input, t.sum))
	return t
}

// digest returns the digest of all bytes; they were read with the last entry.
func (t *table) digest() pratique.Digest {
	return pratique.DigestFromSum([sha256.Size]byte(t.sum.Sum(nil)))
}

// peek returns the next entry, nil at the end.
func (t *table) peek() (*entry, error) {
	if t.ahead != nil || t.last {
		return t.ahead, nil
	}
	var err error
	t.ahead, err = t.next()
	t.last = t.ahead == nil
	return t.ahead, err
}

func (t *table) take() { t.ahead = nil }

func (t *table) next() (*entry, error) {
	if !t.open {
		if err := t.delimiter('{'); err != nil {
			return nil, err
		}
		if found, err := t.until("entries"); err != nil || !found {
			return nil, err
		}
		token, err := t.dec.Token()
		switch {
		case err != nil:
			return nil, errJSON(err)
		case token == nil: // null, for an empty layer
			_, err := t.until("")
			return nil, err
		case token != json.Delim('['):
			return nil, errTable("it is no table of contents: the entries are no list")
		}
		t.open = true
	}
	if t.dec.More() {
		return t.entry()
	}
	if err := t.delimiter(']'); err != nil {
		return nil, err
	}
	_, err := t.until("")
	return nil, err
}

// until reads the names of the table up to a wanted one, or to the end of the document.
func (t *table) until(wanted string) (bool, error) {
	for t.dec.More() {
		name, err := fieldName(t.dec, &t.seen)
		if err != nil {
			return false, err
		}
		if name == wanted {
			return true, nil
		}
		var skipped json.RawMessage
		if err := t.dec.Decode(&skipped); err != nil {
			return false, errJSON(err)
		}
	}
	if err := t.delimiter('}'); err != nil {
		return false, err
	}
	if _, err := t.dec.Token(); !errors.Is(err, io.EOF) {
		return false, errTable("something follows the table of contents")
	}
	return false, nil
}

func (t *table) delimiter(want json.Delim) error {
	token, err := t.dec.Token()
	if err != nil {
		return errJSON(err)
	}
	if token != want {
		return errTable("it is no table of contents: %q where %q has to be", token, want)
	}
	return nil
}

// fieldName reads the name of a field, and refuses one that two readers would interpret
// differently.
func fieldName(dec *json.Decoder, seen *[]string) (string, error) {
	token, err := dec.Token()
	if err != nil {
		return "", errJSON(err)
	}
	name, ok := token.(string)
	if !ok {
		return "", errTable("it is no table of contents")
	}
	for _, known := range meaningful {
		if same(name, known) {
			return "", errTable("a field %.100q, which some readers take for %q", name, known)
		}
	}
	if slices.Contains(*seen, name) {
		return "", errTable("a field %.100q that comes twice", name)
	}
	if len(*seen) == maxFields {
		return "", pratique.Errorf(pratique.Exhausted, op, "an object with more than %d fields",
			maxFields)
	}
	*seen = append(*seen, name)
	return name, nil
}

func (t *table) entry() (*entry, error) {
	var raw json.RawMessage
	if err := t.dec.Decode(&raw); err != nil {
		return nil, errJSON(err)
	}
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, errJSON(err)
	}
	fields := json.NewDecoder(bytes.NewReader(raw))
	if token, err := fields.Token(); err != nil || token != json.Delim('{') {
		return nil, errTable("an entry of the table is no object")
	}
	seen := make([]string, 0, len(meaningful))
	for fields.More() {
		if _, err := fieldName(fields, &seen); err != nil {
			return nil, err
		}
		var skipped json.RawMessage
		if err := fields.Decode(&skipped); err != nil {
			return nil, errJSON(err)
		}
	}
	return &e, nil
}

func errJSON(err error) error {
	if kind := pratique.KindOf(err); kind != pratique.Unknown {
		return err
	}
	return errTable("the table of contents cannot be read: %w", err)
}

// boundedReader counts bytes, ends with its context, and refuses tables that are too large.
type boundedReader struct {
	ctx context.Context
	r   io.Reader
	n   int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := context.Cause(b.ctx); err != nil {
		return 0, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	n, err := b.r.Read(p)
	if b.n += int64(n); b.n > maxJSON {
		return n, errLarge()
	}
	return n, err
}
