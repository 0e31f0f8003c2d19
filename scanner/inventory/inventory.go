// Package inventory records the packages of all images that were inspected, for one purpose: when
// the vulnerability database changes, it knows what has to be matched again, and which images that
// affects. It is a projection of the ledger and of the inventories and reports that facts name, in
// one bbolt file, which can be deleted and is made again.
//
// It is not part of the index. The index answers queries and belongs to the query role, which alone
// writes it; the inventory belongs to the inspect role, which reads it at every push, and records
// the progress of rescanning.
package inventory

import (
	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
	"github.com/pratique-dev/pratique/internal/projection"
	"github.com/pratique-dev/pratique/scanner"
)

// The buckets. Ids are numbers of four bytes, so that byte order is number order.
var (
	bucketState = []byte("state") // "rescan" → [pratique.Rescan]
	bucketLists = []byte("lists") // digest → id
	// id → digest, and digest of its findings' document if that is known
	bucketList        = []byte("list")
	bucketNames       = []byte("names")       // hash of a key → ids of lists
	bucketVulns       = []byte("vulns")       // id of a vulnerability, 0, id of a list → nothing
	bucketInventories = []byte("inventories") // digest → id
	bucketInventory   = []byte("inventory")   // id → digest, ids of its lists
	bucketHolders     = []byte("holders")     // id of a list → ids of inventories
	bucketSubjects    = []byte("subjects")    // digest, repository → id
	bucketSubject     = []byte("subject")     // id → subject
	bucketImages      = []byte("images")      // id of an inventory, id of a subject → nothing
	bucketParents     = []byte("parents")     // id of a subject, id of an index that lists it → nothing
	bucketChildren    = []byte("children")    // id of an index, id of a subject that it lists → nothing
	bucketPending     = []byte("pending")     // id of a list to be matched again → nothing
	// id of a subject to be looked at → nothing, or 1 if it is to be refreshed
	bucketStale = []byte("stale")
	// id of a list that could not be matched with the database in use → [unmatched]
	bucketUnmatched = []byte("unmatched")
	bucketAside     = []byte("aside") // id of a subject that could not be dealt with → why
)

var allBuckets = [][]byte{
	bucketState, bucketLists, bucketList, bucketNames, bucketVulns, bucketInventories,
	bucketInventory, bucketHolders,
	bucketSubjects, bucketSubject, bucketImages, bucketParents, bucketChildren, bucketPending,
	bucketStale, bucketUnmatched, bucketAside,
}

var keyRescan = []byte("rescan")

// schema describes the file; its version changes with any change of a bucket's keys or values.
func schema() projection.Schema {
	return projection.Schema{Name: "inventory", Version: 5, Buckets: allBuckets}
}

var errDamaged = boltfile.Damaged("the inventory contradicts itself")

// Config is what an inventory needs.
type Config struct {
	// Documents are the inventories and reports that facts name.
	Documents scanner.Documents
	// Keys returns the keys of what a match of a list looks up, as in [rescan.Delta], from its
	// [scanner.ListDocument].
	Keys func(list pratique.Inventory) []string
}

// Projection is an open file. Its methods may be called from several goroutines; there is one
// writer at a time.
type Projection struct {
	file *projection.File
	cfg  Config
}

// Open opens the file, and makes it if it is missing. Errors are those of [projection.OpenFile].
func Open(path string, cfg Config) (*Projection, error) {
	file, err := projection.OpenFile(path, schema())
	if err != nil {
		return nil, err
	}
	return &Projection{file: file, cfg: cfg}, nil
}

// Remove removes the file, unless a process has it open.
func Remove(path string) error { return projection.RemoveFile(path, schema()) }

// Close waits for open transactions and closes the file.
func (p *Projection) Close() error { return p.file.Close() }

// At implements [projection.Store].
func (p *Projection) At() (at uint64, mark string, err error) { return p.file.At() }

// Reset implements [projection.Store].
func (p *Projection) Reset() error { return p.file.Reset() }

// Rescan returns the progress of rescanning; its To has no digest before the first one.
func (p *Projection) Rescan() (r pratique.Rescan, err error) {
	err = p.file.View("read inventory", func(tx *bbolt.Tx) error {
		r, err = getProgress(tx)
		return err
	})
	return r, err
}

func getProgress(tx *bbolt.Tx) (r pratique.Rescan, err error) {
	_, err = boltfile.GetJSON(tx.Bucket(bucketState), keyRescan, &r)
	return r, err
}

func putProgress(tx *bbolt.Tx, r pratique.Rescan) error {
	return boltfile.PutJSON(tx.Bucket(bucketState), keyRescan, r)
}

// Findings returns the document of a list's findings if it is known to be valid for the database.
// It costs one look-up.
func (p *Projection) Findings(list, database pratique.Digest) (d pratique.Digest, known bool, err error) {
	err = p.file.View("read inventory", func(tx *bbolt.Tx) error {
		r, err := getProgress(tx)
		if err != nil || r.To.Digest != database {
			return err
		}
		id := tx.Bucket(bucketLists).Get(boltfile.DigestKey(list))
		if id == nil || tx.Bucket(bucketPending).Get(id) != nil {
			return nil
		}
		d, known = listFindings(tx, decodeNumber(id))
		return nil
	})
	return d, known, err
}

// listFindings returns the known findings of a list; they are valid for the database in use unless
// the list is pending.
func listFindings(tx *bbolt.Tx, list uint32) (pratique.Digest, bool) {
	v := tx.Bucket(bucketList).Get(encodeNumber(list))
	if len(v) != 2*boltfile.DigestSize {
		return pratique.Digest{}, false
	}
	return boltfile.DigestFromKey(v[boltfile.DigestSize:]), true
}
