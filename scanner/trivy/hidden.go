//go:build goexperiment.jsonv2

package trivy

import (
	"slices"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/pratique-dev/pratique/internal/filetree"
)

// Trivy lays what it found in layers over each other by path, and lets go of what a later layer removes or says something
// else of. A file that a later layer replaces by one of which there is nothing to say, by a link or by a directory, and one that
// goes with a directory that is replaced, it would keep; and of two distributions it would often believe the lower one.

// removeHidden leaves out of what was found in a layer what the image does not show of it.
func (v *imageCache) removeHidden(info *ftypes.BlobInfo, n *normalLayer) {
	hidden := func(name string) bool {
		at := n.layer.Lookup(name)
		return at != nil && at.Kind == filetree.Regular && !v.visible(name, n.layer)
	}
	info.PackageInfos = slices.DeleteFunc(info.PackageInfos, func(p ftypes.PackageInfo) bool {
		return hidden(p.FilePath) && !v.upperHas(p.FilePath, func(i ftypes.BlobInfo) bool {
			return slices.ContainsFunc(i.PackageInfos, func(other ftypes.PackageInfo) bool { return other.FilePath == p.FilePath })
		})
	})
	info.Applications = slices.DeleteFunc(info.Applications, func(a ftypes.Application) bool {
		return hidden(a.FilePath) && !v.upperHas(a.FilePath, func(i ftypes.BlobInfo) bool {
			return slices.ContainsFunc(i.Applications, func(other ftypes.Application) bool {
				return other.FilePath == a.FilePath && other.Type == a.Type
			})
		})
	})
	if len(n.releases) > 0 && !slices.ContainsFunc(n.releases, func(name string) bool { return v.visible(name, n.layer) }) {
		info.OS = ftypes.OS{}
	}
	if hidden("etc/apk/repositories") {
		info.Repository = nil
	}
	if n.items != nil { // the stream has none
		info.WhiteoutFiles, info.OpaqueDirs = n.layer.Removals()
	}
}

// visible reports whether what the image has at a path is that layer's file.
func (v *imageCache) visible(name string, l *filetree.Layer) bool {
	at := v.tree.image.Tree.Lookup(name)
	return at != nil && at.Kind == filetree.Regular && at.File.Layer == l
}

// upperHas reports whether the layer whose file the image has at a path has something to say of it, which Trivy takes then.
// That of the lower layer stays, too: Trivy tells from it where a package came from.
func (v *imageCache) upperHas(name string, says func(ftypes.BlobInfo) bool) bool {
	at := v.tree.image.Tree.Lookup(name)
	if at == nil || at.Kind != filetree.Regular {
		return false
	}
	for i, n := range v.tree.layers {
		if n.layer == at.File.Layer && i < len(v.keys) {
			info, ok := v.peek(v.keys[i])
			return ok && says(info)
		}
	}
	return false
}
