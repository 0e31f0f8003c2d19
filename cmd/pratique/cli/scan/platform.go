package scan

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
)

// others are the platforms of the images of an index that were not chosen.
func others(m pratique.Manifest, chosen []pratique.Child) []pratique.Platform {
	var all []pratique.Platform
	for _, child := range m.Images() {
		if !slices.ContainsFunc(chosen, func(c pratique.Child) bool { return c.Digest == child.Digest }) {
			all = append(all, child.Platform)
		}
	}
	for _, u := range m.Uninspected {
		all = append(all, u.Platform)
	}
	return all
}

// choose is the image itself, or the children of an index that are wanted; "all" are those that may
// run on one of the platforms that are configured, if any are. What is wanted and could not be
// inspected is an error.
func choose(m pratique.Manifest, platform string,
	configured []pratique.Platform) ([]pratique.Child, error) {
	all := m.Images()
	if platform == "all" || (platform == "" && !m.IsIndex()) {
		runs := func(p pratique.Platform) bool {
			return len(configured) == 0 || !m.IsIndex() || slices.ContainsFunc(configured, p.MayRunOn)
		}
		chosen := slices.DeleteFunc(slices.Clone(all), func(c pratique.Child) bool {
			return !runs(c.Platform)
		})
		if err := uninspected(m, runs); err != nil || len(chosen) > 0 {
			return chosen, err
		}
		return nil, fmt.Errorf("there is no image for one of the platforms of the configuration, %s, only for %s", listed(configured), listed(platformsOf(all)))
	}
	wanted := pratique.Platform(platform)
	if platform == "" {
		wanted = pratique.Platform("linux/" + runtime.GOARCH)
		if len(configured) > 0 && !slices.ContainsFunc(configured, wanted.MayRunOn) {
			wanted = configured[0]
		}
	}
	for _, fits := range []func(pratique.Platform) bool{
		func(p pratique.Platform) bool { return p == wanted },
		func(p pratique.Platform) bool { return strings.HasPrefix(string(p), string(wanted)+"/") },
		func(p pratique.Platform) bool { return p.MayRunOn(wanted) },
	} {
		if err := uninspected(m, fits); err != nil {
			return nil, err
		}
		for _, child := range all {
			if fits(child.Platform) {
				return []pratique.Child{child}, nil
			}
		}
	}
	return nil, fmt.Errorf("there is no image for %s, only for %s: choose one with --platform",
		wanted, listed(platformsOf(all)))
}

func platformsOf(children []pratique.Child) (all []pratique.Platform) {
	for _, c := range children {
		all = append(all, c.Platform)
	}
	return all
}

func listed(platforms []pratique.Platform) string {
	var names []string
	for _, p := range platforms {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

// uninspected is an error if one of the images that fit could not be inspected.
func uninspected(m pratique.Manifest, fits func(pratique.Platform) bool) error {
	for _, u := range m.Uninspected {
		if fits(u.Platform) {
			return fmt.Errorf("%s, %s, cannot be inspected: %s; choose another one with --platform",
				cmp.Or(string(u.Platform), "an image without a platform"), u.Digest, u.Reason)
		}
	}
	return nil
}
