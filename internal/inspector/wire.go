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

// maxFrame bounds one message in either direction. Inventories and reports travel in messages; the SBOMs,
// which are bigger, as files in the directory of the job.
const maxFrame = 128 << 20

// maxDocument bounds one of these files.
const maxDocument = 256 << 20

// maxAnalysis bounds the analysis of one layer; one that is larger is not kept.
const maxAnalysis = 64 << 20

// The files of a job.
const (
	fileSPDX      = "spdx.json"
	fileCycloneDX = "cyclonedx.json"
)

// fileAnalysis is the file with the analysis of one layer.
func fileAnalysis(layer pratique.Digest) string { return "analysis-" + layer.Hex() + ".json" }

// protocol is sent by a child when it is ready; the parent refuses another one.
const protocol = "pratique-inspector/4"

// hello is the first message of a child.
type hello struct {
	Protocol string `json:"protocol"`
	// Confined are the parts of the confinement that the child has set itself.
	Confined []string `json:"confined,omitempty"`
}

// The operations.
const (
	opInspect = "inspect"
	opMatch   = "match"
)

// request is what the parent asks. The image is set for opInspect, and the Java database if one is to be used;
// inventories and database for opMatch.
type request struct {
	ID int64  `json:"id"`
	Op string `json:"op"`
	// Dir is the directory of this job: documents and temporary files go there, and the parent deletes it.
	Dir   string        `json:"dir"`
	Image *layers.Image `json:"image,omitempty"`
	// Java is the Java database to look jars up in.
	Java *scanner.DatabaseDir `json:"java,omitempty"`
	// Shadow says that the SBOMs are to be made in full, too.
	Shadow bool `json:"shadow,omitempty"`
	// Fingerprint is that of the known analyses of layers; a child with another one refuses. Analyses are
	// their files by diff id, which the child may read; none is there for a layer that is not known.
	Fingerprint string               `json:"fingerprint,omitempty"`
	Analyses    map[string]string    `json:"analyses,omitempty"`
	Inventories []pratique.Inventory `json:"inventories,omitempty"`
	Database    *scanner.DatabaseDir `json:"database,omitempty"`
}

// accepted says that a child has read a whole request and begins with it. What goes wrong before that is not
// the image's fault.
type accepted struct {
	ID int64 `json:"id"`
}

// response is the answer to the request with the same id: exactly one of the three is set.
type response struct {
	ID        int64      `json:"id"`
	Inspected *inspected `json:"inspected,omitempty"`
	// Reports are in the order of the inventories.
	Reports []pratique.Report `json:"reports,omitempty"`
	Failure *failure          `json:"failure,omitempty"`
}

type inspected struct {
	pratique.Inspection
	// Checked are the digests of what the generator made if the SBOMs were made in full after that. They
	// are there if and only if the request asked for it.
	Checked *DocumentDigests `json:"checked,omitempty"`
	// Analyzed are the diff ids of layers whose analyses lie in the directory of the job.
	Analyzed []pratique.Digest `json:"analyzed,omitempty"`
}

// failure is a pratique.Error on its way.
type failure struct {
	Op      string        `json:"op"`
	Subject string        `json:"subject,omitempty"`
	Kind    pratique.Kind `json:"kind"`
	Message string        `json:"message"`
}

// mostMessage bounds what a parser says about hostile input, in bytes.
const mostMessage = 2048

func toFailure(op string, err error) *failure {
	f := &failure{Op: op, Kind: pratique.KindOf(err), Message: pratique.Excerpt(err.Error(), mostMessage)}
	var e *pratique.Error
	if errors.As(err, &e) {
		f.Op, f.Subject = e.Op, e.Subject
		if e.Err != nil {
			f.Message = pratique.Excerpt(e.Err.Error(), mostMessage)
		}
	}
	return f
}

func (f *failure) err() error {
	return &pratique.Error{Op: f.Op, Subject: f.Subject, Kind: f.Kind, Err: errors.New(f.Message)}
}

// writeFrame writes v as JSON behind its length, four bytes big-endian.
func writeFrame(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return fmt.Errorf("message of %d bytes, at most %d are sent", len(body), maxFrame)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))) //nolint:gosec // bounded above
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
		return fmt.Errorf("%w: message of %d bytes, at most %d are read", errGarbage, size, maxFrame)
	}
	// LimitReader and not a buffer of that size: a length is easily made up.
	body, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return err
	}
	if len(body) != int(size) {
		return io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %w", errGarbage, err)
	}
	return nil
}

// errGarbage marks bytes that are not the protocol.
var errGarbage = errors.New("not a message")
