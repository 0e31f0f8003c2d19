// Package natsinternals has everything that this module relies on in nats-server beyond its
// documented interface: codes and texts of errors, headers that the client library does not name,
// lines of its log, files on its disk. Each may change silently with any version of the server. So
// a test fails when the version changes, until somebody has checked each of them.
package natsinternals

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Approved is the version of nats-server for which all of this was checked.
const Approved = "v2.15.3"

// Codes of errors that the client library does not name.
const (
	codeNoStorage       jetstream.ErrorCode = 10047 // JSStorageResourcesExceededErr
	codeMessageTooLarge jetstream.ErrorCode = 10054 // JSStreamMessageExceedsMaximumErr
	codeStoreFailed     jetstream.ErrorCode = 10077 // JSStreamStoreFailedF
)

// code returns the code of an error of the server, 0 if it has none.
func code(err error) jetstream.ErrorCode {
	api := &jetstream.APIError{}
	errors.As(err, &api)
	return api.ErrorCode
}

// NoStorage reports whether streams ask for more than the store limit of the server leaves.
func NoStorage(err error) bool { return code(err) == codeNoStorage }

// MessageTooLarge reports whether a message is larger than its stream takes.
func MessageTooLarge(err error) bool { return code(err) == codeMessageTooLarge }

// StreamFull reports whether a stream refused a message because of its MaxBytes. The code is that
// of every failure to store, so the text decides.
func StreamFull(err error) bool {
	api := &jetstream.APIError{}
	errors.As(err, &api)
	return api.ErrorCode == codeStoreFailed && strings.Contains(api.Description, "maximum bytes exceeded")
}

// The headers of an atomic batch. Servers before 2.12 do not know them and store each message by
// itself.
const (
	BatchID       = "Nats-Batch-Id"
	BatchSequence = "Nats-Batch-Sequence" // from 1
	BatchCommit   = "Nats-Batch-Commit"   // "1" with the last message
)

// BatchAnswer is the server's answer to the last message of a batch: how many messages were
// committed. The answer to the first is empty.
type BatchAnswer struct {
	Error *jetstream.APIError `json:"error"`
	Batch string              `json:"batch"`
	Count int                 `json:"count"`
}

// batchRefusals are errors of a batch that need not concern its messages, or not all of them.
// Publishing these one by one shows which.
var batchRefusals = []jetstream.ErrorCode{
	codeMessageTooLarge,
	10158, // the first of two with the same id is being stored
	10174, // the stream does not take batches
	10176, // a message is missing: it was too large, or the server was restarted
	10177, // a header that a batch must not have
	10199, // too many messages
	10201, // a message with this id is in the stream, or in the batch
	10210, // too many batches at once
}

// BatchRefused reports whether a batch was refused whose messages may be accepted one by one.
func BatchRefused(err error) bool { return slices.Contains(batchRefusals, code(err)) }

// StoppedWriting reports whether a line of the server's log says that a stream or a consumer
// accepts nothing more. Not all such lines start with "critical".
func StoppedWriting(line string) bool { return strings.Contains(line, "ritical write error") }

// The files of streams, in the directory of the server.
const (
	blockFiles   = "jetstream/*/streams/*/msgs/*.blk"
	indexFile    = "index.db" // in the directory of the blocks
	checksumSize = 8
)

// DropStaleIndexes removes the index of every stream with a block that ends in zeros. dir is the
// directory of a server that does not run.
//
// A power cut between a write and its sync may leave a block that is longer but has zeros at its
// end. The server compares the last eight bytes of the last block, which are the checksum of its
// last record, with those in the stream's index to see whether the index is current. An index that
// was written while the block was empty has zeros there: the server then treats the stream as
// empty, and what it had acknowledged is lost. Without the index it reads the blocks.
func DropStaleIndexes(dir string) error {
	blocks, err := fs.Glob(os.DirFS(dir), blockFiles)
	if err != nil {
		return err
	}
	for _, block := range blocks {
		zeros, err := endsInZeros(filepath.Join(dir, block))
		if err != nil {
			return fmt.Errorf("read end of block: %w", err)
		}
		if !zeros {
			continue
		}
		index := filepath.Join(dir, path.Dir(block), indexFile)
		if err := os.Remove(index); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// endsInZeros reports whether a file has at least the length of a checksum, and zeros in its place.
func endsInZeros(name string) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size < checksumSize {
		return false, err
	}
	var end [checksumSize]byte
	if _, err := f.ReadAt(end[:], size-checksumSize); err != nil {
		return false, err
	}
	return end == [checksumSize]byte{}, nil
}
