package pipeline

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/keyed"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/scanner"
)

// Inspect is the stage that turns a ref into a subject, and the subject's images into inventories, SBOMs
// and reports. It is the only stage that touches image content, and it holds no secret but a registry's.
type Inspect struct {
	Base
	Resolver Resolver
	Images   Images
	Parser   Parser
	// Tags finds tags and what they name; Publish takes in pushes as those of a sender are.
	Tags     Tags
	Publish  func(ctx context.Context, events []pratique.Event) error
	Database func() (scanner.DatabaseDir, error)
	// Memo spares matching what was matched before; nil knows nothing.
	Memo Memo
	// Scanner is the tool whose inventories are up to date; those of another version are made anew.
	Scanner pratique.Tool
	// JavaDatabase is the digest of the Java database in use; nil if none is used. Inventories that were made with
	// another one are made anew.
	JavaDatabase func() pratique.Digest
	// Extras are what is looked for beside packages, in the order of [pratique.ExtraKinds]. Images that were
	// inspected for others are inspected anew.
	Extras []pratique.ExtraKind

	// subjects lets one worker at a time work on a subject: CI pushes one digest under two tags at the same moment, and
	// whoever comes second finds the facts of the first.
	subjects keyed.Mutex
}

// Resolver finds the manifest behind a ref, and decides what of an index is left out. Nothing else turns a ref into a
// subject.
type Resolver interface {
	Resolve(ctx context.Context, ref pratique.ImageRef) (pratique.Manifest, error)
}

// Images brings an image to this machine. Its files stay until release is called.
type Images interface {
	Fetch(ctx context.Context, s pratique.Subject) (img layers.Image, release func(), err error)
}

// Parser reads hostile images, in processes of its own.
type Parser interface {
	Inspect(ctx context.Context, img layers.Image) (pratique.Inspection, error)
	Matcher
}

// Handle does the stage for one message.
func (s *Inspect) Handle(ctx context.Context, body []byte) error {
	return unlessCanceled(s.handle(ctx, body))
}

func (s *Inspect) handle(ctx context.Context, body []byte) error {
	w, err := DecodeWork(body)
	if err != nil {
		return err
	}
	if err := s.goesOn(ctx, pratique.StageInspect, w); err != nil {
		return err
	}
	if w.Event.TagUnknown {
		return s.underItsTags(ctx, w)
	}
	if err := s.confirm(ctx, &w); err != nil {
		return err
	}
	m, err := s.Resolver.Resolve(ctx, w.Event.Ref)
	if err != nil {
		return err
	}
	w.Subject = m.Subject
	if w.Round == 0 {
		// A message whose acknowledgement was lost comes again when its event may be over; a fact now would
		// reopen it for ever.
		if _, over, err := s.Ledger.Completed(ctx, w.Subject, w.Event.ID); err != nil || over {
			return err
		}
	}
	seen := pratique.Resolved{Event: w.Event, Manifest: m}
	if err := s.record(ctx, pratique.StageInspect, w, w.Subject, pratique.Fact{Body: &seen}); err != nil {
		return err
	}
	if m.NotImage != "" {
		return s.complete(ctx, pratique.StageInspect, w, pratique.StateIgnored, m.NotImage)
	}
	for _, child := range m.Images() {
		if err := s.goesOn(ctx, pratique.StageInspect, w); err != nil {
			return err
		}
		if err := s.image(ctx, w, child); err != nil {
			return err
		}
	}
	if m.IsIndex() {
		inspected := pratique.Inspected{Children: m.Children}
		if err := s.record(ctx, pratique.StageInspect, w, w.Subject, pratique.Fact{Body: &inspected}); err != nil {
			return err
		}
	}
	if err := s.goesOn(ctx, pratique.StageInspect, w); err != nil {
		return err
	}
	return s.pass(ctx, pratique.StageAttest, w)
}

// image makes sure that one platform image is inspected and matched.
func (s *Inspect) image(ctx context.Context, w Work, c pratique.Child) error {
	subject := w.Subject.Sibling(c.Digest)
	leave, err := s.subjects.Lock(ctx, subject)
	if err != nil {
		return err
	}
	defer leave()
	err = s.inspectAndMatch(ctx, w, subject)
	if isLost(err) {
		w.Round++
		err = s.inspectAndMatch(ctx, w, subject)
	}
	return err
}

func (s *Inspect) inspectAndMatch(ctx context.Context, w Work, subject pratique.Subject) error {
	inspected, err := s.known(ctx, w, subject)
	if err != nil {
		return err
	}
	if inspected != nil {
		return s.matched(ctx, w, subject, inspected.Inventory)
	}
	started := s.Now().UTC()
	result, err := s.parse(ctx, subject)
	if err != nil {
		return err
	}
	whole, parts, err := scanner.SplitInventory(result.Inventory)
	if err != nil {
		return err
	}
	inventory := append(parts, whole)
	// Matching goes on beside storing all of this: SBOMs have megabytes, and each document waits for the disk.
	var matching errgroup.Group
	var report *pratique.Scanned
	matching.Go(func() (err error) {
		report, err = s.match(ctx, w, subject, whole.Digest, s.fresh(inventory))
		return err
	})
	inspected, err = s.keep(ctx, result, inventory, started)
	matchErr := matching.Wait()
	if err != nil {
		return err
	}
	// What was inspected is recorded also if it cannot be matched for now.
	if err := s.record(ctx, pratique.StageInspect, w, subject, pratique.Fact{Body: inspected}); err != nil {
		return err
	}
	if matchErr != nil {
		return matchErr
	}
	return s.recordScanned(ctx, w, subject, report)
}

// parse fetches and parses an image.
func (s *Inspect) parse(ctx context.Context, subject pratique.Subject) (pratique.Inspection, error) {
	img, release, err := s.Images.Fetch(ctx, subject)
	if err != nil {
		return pratique.Inspection{}, err
	}
	defer release()
	return s.Parser.Inspect(ctx, img)
}

// known is the last inspection of an image, and nil if it has to be inspected, or inspected anew.
func (s *Inspect) known(ctx context.Context, w Work, subject pratique.Subject) (*pratique.Inspected, error) {
	i, err := newest[pratique.Inspected](ctx, s.Ledger, subject)
	if err != nil || i == nil || w.Round > 0 {
		return nil, err
	}
	if i.Scanner != s.Scanner || i.JavaDatabase != s.java() || i.Inventory.IsZero() || i.Compared == nil || !slices.Equal(i.ExtraKinds, s.Extras) {
		return nil, nil
	}
	return i, nil
}

func (s *Inspect) java() pratique.Digest {
	if s.JavaDatabase == nil {
		return pratique.Digest{}
	}
	return s.JavaDatabase()
}

// keep stores the documents of an inspection, those of its inventory among them, of which the last one is the whole, and
// describes them.
func (s *Inspect) keep(ctx context.Context, r pratique.Inspection, inventory []scanner.Document, started time.Time) (*pratique.Inspected, error) {
	fact := pratique.Inspected{
		Image: r.Image, Packages: r.Inventory.Packages(), Scanner: r.Inventory.Scanner, Generator: r.Generator, StartedAt: started,
		JavaDatabase: r.JavaDatabase, JavaUpdatedAt: r.JavaUpdatedAt, Compared: &r.Compared, Inventory: inventory[len(inventory)-1].Digest,
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.putAll(ctx, inventory) })
	group.Go(func() (err error) {
		fact.SPDX, err = s.Documents.Put(ctx, r.SPDX)
		return err
	})
	group.Go(func() (err error) {
		fact.CycloneDX, err = s.Documents.Put(ctx, r.CycloneDX)
		return err
	})
	group.Go(func() error {
		return errors.Join(s.keepExtras(ctx, r.Extras, &fact), s.keepLabels(ctx, &fact))
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return &fact, nil
}

// keepExtras stores what was found beside packages. That less was looked for than was asked for must not pass
// for a clean image.
func (s *Inspect) keepExtras(ctx context.Context, found *pratique.Extras, fact *pratique.Inspected) error {
	if found != nil {
		fact.ExtraKinds, fact.ExtraCounts = found.Kinds, found.Counts()
	}
	if !slices.Equal(fact.ExtraKinds, s.Extras) {
		return pratique.Errorf(pratique.Internal, "inspect image", "%v were asked for, %v were looked for", s.Extras, fact.ExtraKinds)
	}
	if found == nil {
		return nil
	}
	var err error
	fact.Extras, err = s.putJSON(ctx, found)
	return err
}
