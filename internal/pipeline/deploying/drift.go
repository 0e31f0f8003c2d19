package deploying

import (
	"context"
	"errors"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// Drift compares the facts about deployments with what the config repositories hold, and corrects
// the facts with new ones. Each new fact is true when it is recorded, so a comparison may run at
// any time, and twice.
type Drift struct {
	pipeline.Recorder
	Records Records
	Places  Places
}

// Records are what the facts say.
type Records interface {
	// Deployed visits the records of images that have been deployed.
	Deployed(ctx context.Context, visit func(pratique.Record) error) error
}

// Places are what the targets hold now.
type Places interface {
	Places(ctx context.Context, of ...pratique.Repository) ([]pratique.TargetPlaces, error)
}

// repositoriesPerWalk is how many image repositories are looked for in one walk through a config
// repository.
const repositoriesPerWalk = 50

// Check compares everything once, and returns how many facts it recorded. A target that cannot be
// read is an error, and the others are compared all the same.
func (d *Drift) Check(ctx context.Context) (recorded int, err error) {
	images := map[pratique.Repository][]image{}
	var all []pratique.Repository
	if err := d.Records.Deployed(ctx, func(r pratique.Record) error {
		repository := r.Subject.Repository
		if images[repository] == nil {
			all = append(all, repository)
		}
		images[repository] = append(images[repository], imageOf(r))
		return nil
	}); err != nil {
		return 0, err
	}
	var failed []error
	for some := range slices.Chunk(all, repositoriesPerWalk) {
		targets, err := d.Places.Places(ctx, some...)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for _, t := range targets {
			if t.Failure != "" {
				failed = append(failed,
					pratique.Errorf(pratique.Unavailable, "read target "+t.Target, "%s", t.Failure))
				continue
			}
			n, err := d.compare(ctx, t, images[t.Repository])
			if recorded += n; err != nil {
				return recorded, err
			}
		}
	}
	return recorded, errors.Join(failed...)
}

// compare compares one image repository in one target.
func (d *Drift) compare(ctx context.Context, t pratique.TargetPlaces,
	images []image) (recorded int, err error) {
	for _, i := range images {
		body := correction(t, i, images)
		if body == nil {
			continue
		}
		if err := d.Record(ctx, pipeline.Work{}, i.Subject, body); err != nil {
			return recorded, err
		}
		recorded++
	}
	return recorded, nil
}
