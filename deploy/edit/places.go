package edit

import (
	"cmp"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/imagename"
)

// Reference is a place that names any image.
type Reference struct {
	// Path and Line are where it is; Object and Field say the same for people.
	Path   string
	Line   int
	Object pratique.Object
	Field  string
	// Image is the name of the repository in full, as docker.io/library/nginx for nginx.
	Image string
	// Tag and Digest are what the place names; either may be missing there.
	Tag    string
	Digest pratique.Digest
}

// references are what the file names, and what could not be read of it.
func (f *File) references() ([]Reference, []Problem) {
	var wrong problems
	// a tag belongs to the digest beside it if both follow the same one
	type line struct{ image, tags string }
	of := map[line][]pick{}
	for i := range f.found {
		if f.found[i].Stopped != "" {
			continue
		}
		for k := range f.found[i].Sites {
			s := &f.found[i].Sites[k]
			if s.Reason != "" {
				wrong = append(wrong, f.problem(s.Line, true, "%s", s.Reason))
				continue
			}
			if bad := slices.IndexFunc(s.Values, func(v Value) bool { return v.Reason != "" }); bad >= 0 {
				wrong = append(wrong, f.problem(s.Values[bad].Line, true, "%s", s.Values[bad].Reason))
				continue
			}
			for _, v := range s.Values {
				name := cmp.Or(v.name(), s.Image)
				if v.Form == Ref && v.name() == "" {
					continue // a template, or something else
				}
				l := line{imagename.Canonical(name), s.Tags}
				of[l] = append(of[l], pick{v, s})
			}
		}
	}
	var all []Reference
	for l, picked := range of {
		picked, _ = f.agreed(picked, nil)
		for _, p := range placesOf(f.path, picked) {
			all = append(all, Reference{Path: p.Path, Line: p.Line, Object: p.Object,
				Field: p.Field, Image: l.image, Tag: p.Tag, Digest: p.Digest})
		}
	}
	slices.SortFunc(all, func(a, b Reference) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Field, b.Field),
			cmp.Compare(a.Image, b.Image))
	})
	return all, wrong[:min(len(wrong), maxProblems)].inOrder()
}

// placesOf are what the values of one image are parts of.
func placesOf(path string, picked []pick) []pratique.Place {
	var places []pratique.Place
	for _, p := range pairs(picked) {
		first := p[0]
		place := pratique.Place{
			Path: path, Line: first.Line, Object: first.Object, Field: first.Field,
			TagOnly: len(p) == 1 && first.Form == Tag, Tags: first.site.Tags,
		}
		for _, v := range p {
			place.Tag = cmp.Or(v.tag(), place.Tag)
			place.Digest = cmp.Or(v.digest(), place.Digest)
		}
		places = append(places, place)
	}
	return places
}

// pairs joins the values of each place: those of one site, and a marked tag with a marked digest
// beside it, as each has a marker of its own.
func pairs(picked []pick) [][]pick {
	var all [][]pick
	of := map[*Site]int{} // which of them has the values of a site
	for i, v := range picked {
		if at, ok := of[v.site]; ok {
			all[at] = append(all[at], v)
			continue
		}
		if i > 0 && len(all[len(all)-1]) == 1 && adjacent(all[len(all)-1][0], v) {
			all[len(all)-1] = append(all[len(all)-1], v)
			continue
		}
		of[v.site] = len(all)
		all = append(all, []pick{v})
	}
	return all
}

// adjacent reports whether two values that follow each other are a tag and its digest.
func adjacent(a, b pick) bool {
	return a.site.Marked && b.site.Marked && a.Form != Ref && b.Form != Ref && a.Form != b.Form
}

// naming keeps the values of places that already name the tag.
func naming(picked []pick, tag string) []pick {
	var kept []pick
	for _, p := range pairs(picked) {
		if slices.ContainsFunc(p, func(v pick) bool { return v.tag() == tag }) {
			kept = append(kept, p...)
		}
	}
	slices.SortStableFunc(kept, func(a, b pick) int { return cmp.Compare(a.Slot.Start, b.Slot.Start) })
	return kept
}
