package inspector

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/scanner"
)

// maxFrame bounds one message. Inventories and reports are sent in messages; the larger SBOMs as
// files in the job's directory.
const maxFrame = 128 << 20

// maxDocument bounds one of these files.
const maxDocument = 256 << 20

// maxAnalysis bounds the analysis of one layer; a larger one is not kept.
const maxAnalysis = 64 << 20

// The files of a job.
const (
	fileSPDX      = "spdx.json"
	fileCycloneDX = "cyclonedx.json"
)

// fileAnalysis is the file with the analysis of one layer.
func fileAnalysis(layer pratique.Digest) string { return "analysis-" + layer.Hex() + ".json" }

// protocol is sent by a child when it is ready; the parent refuses any other.
const protocol = "pratique-inspector/4"

// hello is the first message of a child.
type hello struct {
	Protocol string `json:"protocol"`
	// Confined are the parts of the confinement that the child has set.
	Confined []string `json:"confined,omitempty"`
}

// The operations.
const (
	opInspect = "inspect"
	opMatch   = "match"
)

// request is a request of the parent. Image, and Java if there is a database, belong to opInspect;
// Inventories and Database to opMatch.
type request struct {
	ID int64  `json:"id"`
	Op string `json:"op"`
	// Dir is the job's directory for documents and temporary files; the parent deletes it.
	Dir   string        `json:"dir"`
	Image *layers.Image `json:"image,omitempty"`
	// Java is the Java database.
	Java *scanner.DatabaseDir `json:"java,omitempty"`
	// Shadow asks for SBOMs made in full as well.
	Shadow bool `json:"shadow,omitempty"`
	// Fingerprint belongs to the known analyses; a child with another one refuses. Analyses are
	// their files by diff id.
	Fingerprint string               `json:"fingerprint,omitempty"`
	Analyses    map[string]string    `json:"analyses,omitempty"`
	Inventories []pratique.Inventory `json:"inventories,omitempty"`
	Database    *scanner.DatabaseDir `json:"database,omitempty"`
}

// accepted says that a child has read a request and begins with it. Failures before that are not
// the image's fault.
type accepted struct {
	ID int64 `json:"id"`
}

// response answers the request with the same id. Exactly one of Inspected, Reports and Failure is
// set.
type response struct {
	ID        int64      `json:"id"`
	Inspected *inspected `json:"inspected,omitempty"`
	// Reports are in the order of the inventories.
	Reports []pratique.Report `json:"reports,omitempty"`
	Failure *failure          `json:"failure,omitempty"`
}

type inspected struct {
	pratique.Inspection
	// Checked are the digests of the regular generator's SBOMs, if the request asked for SBOMs made
	// in full.
	Checked *DocumentDigests `json:"checked,omitempty"`
	// Analyzed are the diff ids of the analyses in the job's directory.
	Analyzed []pratique.Digest `json:"analyzed,omitempty"`
}

// failure is a [pratique.Error] in a message.
type failure struct {
	Op      string        `json:"op"`
	Subject string        `json:"subject,omitempty"`
	Kind    pratique.Kind `json:"kind"`
	Message string        `json:"message"`
}

// maxMessage bounds an error message, which may quote hostile input, in bytes.
const maxMessage = 2048

func toFailure(op string, err error) *failure {
	f := &failure{Op: op, Kind: pratique.KindOf(err), Message: pratique.Excerpt(err.Error(), maxMessage)}
	var e *pratique.Error
	if errors.As(err, &e) {
		f.Op, f.Subject = e.Op, e.Subject
		if e.Err != nil {
			f.Message = pratique.Excerpt(e.Err.Error(), maxMessage)
		}
	}
	return f
}

func (f *failure) err() error {
	return &pratique.Error{Op: f.Op, Subject: f.Subject, Kind: f.Kind, Err: errors.New(f.Message)}
}

// writeFrame writes v as JSON, preceded by its length in four bytes, big-endian.
func writeFrame(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return fmt.Errorf("message of %d bytes, at most %d are sent", len(body), maxFrame)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)),
		uint32(len(body))) //nolint:gosec // bounded above
	_, err = w.Write(append(frame, body...))
	return err
}

// readFrame reads what writeFrame wrote. The end of the stream between two frames is io.EOF.
func readFrame(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxFrame {
		return fmt.Errorf("%w: message of %d bytes, at most %d are read", errProtocol, size, maxFrame)
	}
	// No buffer of that size: the length may be made up.
	body, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return err
	}
	if len(body) != int(size) {
		return io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	return nil
}

// errProtocol marks data that violates the protocol.
var errProtocol = errors.New("not a message")
