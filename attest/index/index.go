// Package index keeps a projection of the ledger in one bbolt file, made for the questions that
// people and programs ask: what is known about a digest, what a tag means, what became of an event,
// what there is. The file holds nothing that the ledger does not; it can be deleted and built again
// from position zero.
package index

import (
	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique/internal/projection"
)

// The buckets. Integers in keys are big-endian, so that byte order is number order.
var (
	bucketRecords = []byte("records") // digest, repository → pratique.Record
	bucketList    = []byte("list")    // position of the subject's first fact → Summary
	bucketByRepo  = []byte("byrepo")  // repository, 0, position of the first fact → nothing
	// repository, 0, tag, 0, time, position → digest, and 1 if superseded
	bucketTags      = []byte("tags")
	bucketImageTags = []byte("imagetags") // digest, repository, 0, tag → nothing
	bucketParents   = []byte("parents")   // digest, repository, 0, digest of the index → nothing
	bucketEvents    = []byte("events")    // event id → EventStatus
	bucketDead      = []byte("dead")      // event id → nothing; those that failed or were canceled
	bucketRejected  = []byte("rejected")  // position → why the fact could not be applied
	// digest, repository → nothing; those that [Index.Denials] has to look at
	bucketDenials = []byte("denials")
	// bucketDeployments has target, 0, repository → pratique.Deployment.
	bucketDeployments = []byte("deployments")
)

var allBuckets = [][]byte{
	bucketRecords, bucketList, bucketByRepo, bucketTags, bucketImageTags, bucketParents,
	bucketEvents, bucketDead, bucketRejected,
	bucketDenials, bucketDeployments,
}

// schema describes the file; its version changes with any change of a bucket's keys or values.
func schema() projection.Schema {
	return projection.Schema{Name: "index", Version: 7, Buckets: allBuckets}
}

// Index is an open index file. Its methods may be called from several goroutines; there is one
// writer at a time.
type Index struct {
	file *projection.File
}

// Open opens the file, and makes it if it is not there. The errors are those of
// [projection.OpenFile].
func Open(path string) (*Index, error) {
	file, err := projection.OpenFile(path, schema())
	if err != nil {
		return nil, err
	}
	return &Index{file: file}, nil
}

// Remove removes the file, unless a process has it open.
func Remove(path string) error { return projection.RemoveFile(path, schema()) }

// Close waits for open transactions and closes the file.
func (ix *Index) Close() error { return ix.file.Close() }

// Position returns the ledger position of the last fact that was applied, 0 if none was.
func (ix *Index) Position() (uint64, error) {
	at, _, err := ix.file.At()
	return at, err
}

// At implements [projection.Store].
func (ix *Index) At() (at uint64, mark string, err error) { return ix.file.At() }

// Reset implements [projection.Store].
func (ix *Index) Reset() error { return ix.file.Reset() }

func (ix *Index) view(op string, fn func(*bbolt.Tx) error) error { return ix.file.View(op, fn) }
