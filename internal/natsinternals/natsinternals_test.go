package natsinternals

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// TestApprovedVersion fails when go.mod names another version of the server than the one whose
// internals were looked at. Before Approved is changed, look at everything in this package:
//   - the codes and headers: the tests below compare them with the constants of the server;
//   - "maximum bytes exceeded": store.go, and the tests of full streams in queue and attest/ledger;
//   - "critical write error": every place in the server that says it, or has come to say something
//     else, and the test of a full disk in queue (it needs the right to mount);
//   - the blocks and the index of a stream: how filestore.go recovers a stream with an index, the
//     tests of a stale index in queue, and make test-crash.
func TestApprovedVersion(t *testing.T) {
	t.Parallel()
	const module = "github.com/nats-io/nats-server/v2"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m",
		"-f", "{{.Version}}{{with .Replace}} replaced by {{.Path}} {{.Version}}{{end}}",
		module).CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	if version := strings.TrimSpace(string(out)); version != Approved {
		t.Errorf("go.mod has %s %s, and what this package knows was looked at for %s: see the comment of this test",
			module, version, Approved)
	}
}

func TestCodes(t *testing.T) {
	t.Parallel()
	for ours, theirs := range map[jetstream.ErrorCode]server.ErrorIdentifier{
		codeNoStorage:       server.JSStorageResourcesExceededErr,
		codeMessageTooLarge: server.JSStreamMessageExceedsMaximumErr,
		codeStoreFailed:     server.JSStreamStoreFailedF,
		10158:               server.JSStreamDuplicateMessageConflict,
		10174:               server.JSAtomicPublishDisabledErr,
		10176:               server.JSAtomicPublishIncompleteBatchErr,
		10177:               server.JSAtomicPublishUnsupportedHeaderBatchErr,
		10199:               server.JSAtomicPublishTooLargeBatchErrF,
		10201:               server.JSAtomicPublishContainsDuplicateMessageErr,
		10210:               server.JSAtomicPublishTooManyInflight,
	} {
		if ours != jetstream.ErrorCode(theirs) {
			t.Errorf("code %d, the server has %d", ours, theirs)
		}
		refused := ours != codeNoStorage && ours != codeStoreFailed
		if err := fmt.Errorf("publish: %w", answer(ours, "")); BatchRefused(err) != refused {
			t.Errorf("%v refuses a batch: %t", err, !refused)
		}
	}
	for ours, theirs := range map[string]string{
		BatchID: server.JSBatchId, BatchSequence: server.JSBatchSeq, BatchCommit: server.JSBatchCommit,
	} {
		if ours != theirs {
			t.Errorf("header %s, the server has %s", ours, theirs)
		}
	}
}

func answer(code jetstream.ErrorCode, description string) error {
	return &jetstream.APIError{ErrorCode: code, Description: description}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	full := answer(codeStoreFailed, server.ErrMaxBytes.Error())
	failed := answer(codeStoreFailed, server.ErrMaxMsgs.Error())
	large, noStorage := answer(codeMessageTooLarge, ""), answer(codeNoStorage, "")
	for _, test := range []struct {
		name string
		is   func(error) bool
		only error
	}{
		{"full", StreamFull, full},
		{"too large", MessageTooLarge, large},
		{"no storage", NoStorage, noStorage},
	} {
		for _, err := range []error{nil, errors.New("maximum bytes exceeded"), full, failed, large,
			noStorage} {
			if got, want := test.is(err),
				err == test.only; got != want { //nolint:errorlint // errors.Is compares codes alone
				t.Errorf("%s: %v: %t", test.name, err, got)
			}
		}
		if !test.is(fmt.Errorf("publish: %w", test.only)) {
			t.Errorf("%s is not seen in a wrapped error", test.name)
		}
	}
}

func TestStoppedWriting(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"Critical write error: no space left on device":                                  true,
		"JetStream stream '$G > EVENTS' critical write error: input/output error":        true,
		"JetStream consumer '$G > EVENTS > push' critical write error: read-only device": true,
		"JetStream resource limits exceeded for server":                                  false,
		"": false,
	} {
		if StoppedWriting(line) != want {
			t.Errorf("%q: %t", line, !want)
		}
	}
}

func TestDropStaleIndexes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		block []byte
		stays bool
	}{
		"a record at the end":      {append(make([]byte, 300), "checksum"...), true},
		"zeros at the end":         {append([]byte("checksum"), make([]byte, 8)...), false},
		"seven zeros at the end":   {append([]byte("checksum"), make([]byte, 7)...), true},
		"nothing":                  {nil, true},
		"shorter than a checksum":  {make([]byte, 7), true},
		"zeros, and nothing above": {make([]byte, 8), false},
	} {
		dir := t.TempDir()
		messages := filepath.Join(dir, "jetstream", "$G", "streams", "EVENTS", "msgs")
		if err := os.MkdirAll(messages, 0o700); err != nil {
			t.Fatal(err)
		}
		index := filepath.Join(messages, indexFile)
		for file, content := range map[string][]byte{index: []byte("x"),
			filepath.Join(messages, "1.blk"): test.block} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // without an index there is nothing to remove
			if err := DropStaleIndexes(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(index); (err == nil) != test.stays {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if err := DropStaleIndexes(filepath.Join(t.TempDir(), "new")); err != nil {
		t.Errorf("a directory that is not there yet: %v", err)
	}
}
