//go:build goexperiment.jsonv2

package trivy

import (
	"slices"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/pratique-dev/pratique/internal/filetree"
)

// Trivy merges the results of layers by path, and drops a result that a later layer removes or
// replaces by another result. It keeps the result of a file that a later layer replaces by a link,
// a directory or a file without a result, or that is removed with a replaced directory; and of two
// distributions it often takes the lower one.

// removeHidden removes the results of a layer's files that the image does not show.
func (v *imageCache) removeHidden(info *ftypes.BlobInfo, n *normalLayer) {
	hidden := func(name string) bool {
		at := n.layer.Lookup(name)
		return at != nil && at.Kind == filetree.Regular && !v.visible(name, n.layer)
	}
	info.PackageInfos = slices.DeleteFunc(info.PackageInfos, func(p ftypes.PackageInfo) bool {
		return hidden(p.FilePath) && !v.upperHas(p.FilePath, func(i ftypes.BlobInfo) bool {
			return slices.ContainsFunc(i.PackageInfos, func(other ftypes.PackageInfo) bool {
				return other.FilePath == p.FilePath
			})
		})
	})
	info.Applications = slices.DeleteFunc(info.Applications, func(a ftypes.Application) bool {
		return hidden(a.FilePath) && !v.upperHas(a.FilePath, func(i ftypes.BlobInfo) bool {
			return slices.ContainsFunc(i.Applications, func(other ftypes.Application) bool {
				return other.FilePath == a.FilePath && other.Type == a.Type
			})
		})
	})
	if len(n.releases) > 0 && !slices.ContainsFunc(n.releases, func(name string) bool {
		return v.visible(name, n.layer)
	}) {
		info.OS = ftypes.OS{}
	}
	if hidden("etc/apk/repositories") {
		info.Repository = nil
	}
	if n.items != nil { // the rewritten stream has no whiteouts
		info.WhiteoutFiles, info.OpaqueDirs = n.layer.Removals()
	}
}

// visible reports whether the image shows that layer's file at a path.
func (v *imageCache) visible(name string, l *filetree.Layer) bool {
	at := v.tree.image.Tree.Lookup(name)
	return at != nil && at.Kind == filetree.Regular && at.File.Layer == l
}

// upperHas reports whether the layer whose file the image shows at a path has a result for it,
// which Trivy takes then. The result of the lower layer is kept, since Trivy finds a package's
// layer by it.
func (v *imageCache) upperHas(name string, has func(ftypes.BlobInfo) bool) bool {
	at := v.tree.image.Tree.Lookup(name)
	if at == nil || at.Kind != filetree.Regular {
		return false
	}
	for i, n := range v.tree.layers {
		if n.layer == at.File.Layer && i < len(v.keys) {
			info, ok := v.peek(v.keys[i])
			return ok && has(info)
		}
	}
	return false
}
