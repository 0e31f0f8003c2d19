// Package inspecting is the stage that turns a ref into a subject, and the subject's images into
// inventories, SBOMs and reports. It is the only stage that touches image content. It holds no
// secret but a registry's credentials.
package inspecting

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/keyed"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/scanner"
)

// Stage inspects and scans images.
type Stage struct {
	pipeline.Base
	Documents pipeline.Documents
	Resolver  Resolver
	Images    Images
	Parser    Parser
	// Tags looks up tags. Publish accepts pushes as if a sender had reported them.
	Tags     Tags
	Publish  func(ctx context.Context, events []pratique.Event) error
	Database func() (scanner.DatabaseDir, error)
	// Memo remembers findings of package lists. It may be nil.
	Memo Memo
	// Scanner is the tool that makes inventories. Images that another version inspected are
	// inspected again.
	Scanner pratique.Tool
	// JavaDatabase is the digest of the Java database in use; nil if none is used. Images that were
	// inspected with another one are inspected again.
	JavaDatabase func() pratique.Digest
	// Extras are what is looked for besides packages, in the order of [pratique.ExtraKinds]. Images
	// that were inspected for others are inspected again.
	Extras []pratique.ExtraKind

	// subjects lets one worker at a time work on a subject. CI often pushes one digest under two
	// tags at the same moment; the second worker then finds the facts of the first.
	subjects keyed.Mutex[pratique.Subject]
}

// Resolver finds the manifest behind a ref, and decides which images of an index are left out.
// Nothing else turns a ref into a subject.
type Resolver interface {
	Resolve(ctx context.Context, ref pratique.ImageRef) (pratique.Manifest, error)
}

// Images fetches images to this machine. The files of an image stay until release is called.
type Images interface {
	Fetch(ctx context.Context, s pratique.Subject) (img layers.Image, release func(), err error)
}

// Parser reads hostile images, in processes of its own.
type Parser interface {
	Inspect(ctx context.Context, img layers.Image) (pratique.Inspection, error)
	pipeline.Matcher
}

// Handle processes one message.
func (s *Stage) Handle(ctx context.Context, body []byte) error {
	return pipeline.IgnoreCanceled(s.handle(ctx, body))
}

func (s *Stage) handle(ctx context.Context, body []byte) error {
	w, err := pipeline.DecodeWork(body)
	if err != nil {
		return err
	}
	if err := s.CheckCanceled(ctx, w); err != nil {
		return err
	}
	if w.Event.TagUnknown {
		return s.publishTags(ctx, w)
	}
	if err := s.confirmTag(ctx, &w); err != nil {
		return err
	}
	m, err := s.Resolver.Resolve(ctx, w.Event.Ref)
	if err != nil {
		return err
	}
	w.Subject = m.Subject
	if w.Round == 0 {
		// A message whose acknowledgement was lost is redelivered, perhaps after its event has
		// ended. Another fact would reopen the event for ever.
		if _, over, err := s.Facts.Completed(ctx, w.Subject, w.Event.ID); err != nil || over {
			return err
		}
	}
	resolved := pratique.Resolved{Event: w.Event, Manifest: m}
	if err := s.Record(ctx, w, w.Subject, &resolved); err != nil {
		return err
	}
	if m.NotImage != "" {
		return s.Complete(ctx, w, pratique.StateIgnored, m.NotImage)
	}
	for _, child := range m.Images() {
		if err := s.CheckCanceled(ctx, w); err != nil {
			return err
		}
		if err := s.ensureScanned(ctx, w, w.Subject.Sibling(child.Digest)); err != nil {
			return err
		}
	}
	if m.IsIndex() {
		inspected := pratique.Inspected{Children: m.Children}
		if err := s.Record(ctx, w, w.Subject, &inspected); err != nil {
			return err
		}
	}
	if err := s.CheckCanceled(ctx, w); err != nil {
		return err
	}
	return s.Enqueue(ctx, pratique.StageAttest, w)
}

// ensureScanned makes sure that one platform image is inspected and scanned. If a document of an
// earlier inspection is lost, the image is inspected again.
func (s *Stage) ensureScanned(ctx context.Context, w pipeline.Work, image pratique.Subject) error {
	unlock, err := s.subjects.Lock(ctx, image)
	if err != nil {
		return err
	}
	defer unlock()
	err = s.inspectAndScan(ctx, w, image)
	if pipeline.IsLost(err) {
		w.Round++
		err = s.inspectAndScan(ctx, w, image)
	}
	return err
}

func (s *Stage) inspectAndScan(ctx context.Context, w pipeline.Work, image pratique.Subject) error {
	inspected, err := s.currentInspection(ctx, w, image)
	if err != nil {
		return err
	}
	if inspected != nil {
		scanned, err := s.scan(ctx, w, image, inspected.Inventory, s.recorded())
		if err != nil {
			return err
		}
		return s.recordScanned(ctx, w, image, scanned)
	}
	started := s.Now().UTC()
	result, err := s.parse(ctx, image)
	if err != nil {
		return err
	}
	header, parts, err := scanner.SplitInventory(result.Inventory)
	if err != nil {
		return err
	}
	inventory := append(parts, header)
	// The image is scanned while its documents are stored: SBOMs have megabytes, and each document
	// waits for the disk.
	var scanning errgroup.Group
	var scanned *pratique.Scanned
	scanning.Go(func() (err error) {
		scanned, err = s.scan(ctx, w, image, header.Digest, s.withUnstored(inventory))
		return err
	})
	inspected, err = s.store(ctx, result, inventory, started)
	scanErr := scanning.Wait()
	if err != nil {
		return err
	}
	// The inspection is recorded even if the image cannot be scanned now.
	if err := s.Record(ctx, w, image, inspected); err != nil {
		return err
	}
	if scanErr != nil {
		return scanErr
	}
	return s.recordScanned(ctx, w, image, scanned)
}

// parse fetches and parses an image.
func (s *Stage) parse(ctx context.Context, image pratique.Subject) (pratique.Inspection, error) {
	img, release, err := s.Images.Fetch(ctx, image)
	if err != nil {
		return pratique.Inspection{}, err
	}
	defer release()
	return s.Parser.Inspect(ctx, img)
}

// currentInspection is the last inspection of an image, nil if the image has to be inspected, for
// the first time or again.
func (s *Stage) currentInspection(ctx context.Context, w pipeline.Work,
	image pratique.Subject) (*pratique.Inspected, error) {
	i, err := pipeline.Newest[pratique.Inspected](ctx, s.Facts, image)
	if err != nil || i == nil || w.Round > 0 {
		return nil, err
	}
	var java pratique.Digest
	if s.JavaDatabase != nil {
		java = s.JavaDatabase()
	}
	if i.Scanner != s.Scanner || i.JavaDatabase != java || i.Inventory.IsZero() ||
		i.Compared == nil || !slices.Equal(i.ExtraKinds, s.Extras) {
		return nil, nil
	}
	return i, nil
}

// store stores the documents of an inspection, and returns its fact. The last document of the
// inventory is its header.
func (s *Stage) store(ctx context.Context, r pratique.Inspection, inventory []scanner.Document,
	started time.Time) (*pratique.Inspected, error) {
	fact := pratique.Inspected{
		Image: r.Image, Packages: r.Inventory.Packages(), Scanner: r.Inventory.Scanner,
		Generator: r.Generator, StartedAt: started,
		JavaDatabase: r.JavaDatabase, JavaUpdatedAt: r.JavaUpdatedAt, Compared: &r.Compared,
		Inventory: inventory[len(inventory)-1].Digest,
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return pipeline.PutAll(ctx, s.Documents, inventory) })
	group.Go(func() (err error) {
		fact.SPDX, err = s.Documents.Put(ctx, r.SPDX)
		return err
	})
	group.Go(func() (err error) {
		fact.CycloneDX, err = s.Documents.Put(ctx, r.CycloneDX)
		return err
	})
	group.Go(func() error {
		return errors.Join(s.storeExtras(ctx, r.Extras, &fact), s.storeLabels(ctx, &fact))
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return &fact, nil
}

// storeExtras stores extra findings. An image for which not everything was looked for must not pass
// as clean, so that is an error.
func (s *Stage) storeExtras(ctx context.Context, found *pratique.Extras, fact *pratique.Inspected) error {
	if found != nil {
		fact.ExtraKinds, fact.ExtraCounts = found.Kinds, found.Counts()
	}
	if !slices.Equal(fact.ExtraKinds, s.Extras) {
		return pratique.Errorf(pratique.Internal, "inspect image",
			"%v were asked for, %v were looked for", s.Extras, fact.ExtraKinds)
	}
	if found == nil {
		return nil
	}
	var err error
	fact.Extras, err = pipeline.PutJSON(ctx, s.Documents, found)
	return err
}
