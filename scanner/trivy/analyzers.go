//go:build goexperiment.jsonv2

package trivy

import (
	"context"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aquasecurity/trivy/pkg/fanal/analyzer"
	"github.com/aquasecurity/trivy/pkg/fanal/artifact"
	xio "github.com/aquasecurity/trivy/pkg/x/io"
)

// roles are the names of the analyzers that read a file to find packages or the operating system.
// Two files with the same content and role have the same result.
type roles map[string]bool

func (r roles) without(other roles) roles {
	left := maps.Clone(r)
	maps.DeleteFunc(left, func(role string, _ bool) bool { return other[role] })
	return left
}

func (r roles) add(other roles) { maps.Copy(r, other) }

// analyzers knows which paths Trivy's analyzers read. It asks Trivy, so it stays correct with new
// versions.
type analyzers struct {
	group  analyzer.AnalyzerGroup
	others map[string][]analyzer.Type // for each analyzer all others
	fixed  map[string]bool            // the paths of analyzers that read fixed paths only
	// releases are the fixed paths that identify the distribution.
	releases map[string]bool
	programs roles // of executables at any path
}

// packageOption enables the analyzers that find packages and the operating system. Secrets,
// configurations and license texts do not depend on their paths.
func packageOption(option artifact.Option) artifact.Option {
	option.DisabledAnalyzers = slices.Concat(option.DisabledAnalyzers, analyzer.TypeConfigFiles,
		[]analyzer.Type{
			analyzer.TypeSecret, analyzer.TypeLicenseFile, analyzer.TypeDpkgLicense,
		})
	return option
}

func newAnalyzers(option artifact.Option) (*analyzers, error) {
	option = packageOption(option)
	group, err := analyzer.NewAnalyzerGroup(option.AnalyzerOptions())
	if err != nil {
		return nil, err
	}
	r := &analyzers{group: group, others: map[string][]analyzer.Type{}, fixed: map[string]bool{},
		releases: map[string]bool{}}
	versions := group.AnalyzerVersions()
	all := slices.Concat(slices.Collect(maps.Keys(versions.Analyzers)),
		slices.Collect(maps.Keys(versions.PostAnalyzers)))
	for _, name := range all {
		var but []analyzer.Type
		for _, other := range all {
			if other != name {
				but = append(but, analyzer.Type(other))
			}
		}
		if _, direct := versions.Analyzers[name]; direct {
			r.others[name] = but
		}
		paths, ok := group.StaticPaths(but)
		for _, p := range paths {
			if !ok || strings.HasSuffix(p, "/") {
				continue
			}
			r.fixed[p] = true
			if t := analyzer.Type(name); slices.Contains(analyzer.TypeOSes, t) &&
				!slices.Contains(packageTypes(), t) {
				r.releases[p] = true
			}
		}
	}
	const program = 0o755
	r.programs = r.rolesByName("x", program)
	return r, nil
}

// packageTypes are the analyzers of operating systems that read packages rather than the release.
func packageTypes() []analyzer.Type {
	return []analyzer.Type{
		analyzer.TypeApk, analyzer.TypeBottlerocketInventory, analyzer.TypeDpkg,
		analyzer.TypeDpkgLicense, analyzer.TypeRpm,
		analyzer.TypeRpmqa, analyzer.TypeApkRepo, analyzer.TypeApkCommand,
	}
}

// roles returns the roles of a regular file at a path.
func (r *analyzers) roles(name string, mode uint32) roles {
	found := r.rolesByName(name, 0)
	if executable(mode) {
		found.add(r.programs)
	}
	return found
}

func (r *analyzers) rolesByName(name string, mode uint32) roles {
	info := fileInfo{name: path.Base(name), mode: fs.FileMode(mode)}
	found := roles{}
	for _, t := range r.group.RequiredPostAnalyzers(name, info) {
		found[role(string(t), name)] = true
	}
	if r.wouldRead(name, info, nil) {
		for t, but := range r.others {
			if r.wouldRead(name, info, but) {
				found[role(t, name)] = true
			}
		}
	}
	return found
}

// wouldRead reports whether an analyzer other than those in but would read the file. Trivy does not
// say which one, so the file cannot be opened, and the caller asks for each analyzer in turn.
func (r *analyzers) wouldRead(name string, info fs.FileInfo, but []analyzer.Type) bool {
	opened := false
	refuse := func() (xio.ReadSeekCloserAt, error) {
		opened = true
		return nil, fs.ErrPermission
	}
	err := r.group.AnalyzeFile(context.Background(), nil, nil, nil, "", name, info, refuse, but,
		analyzer.AnalysisOptions{})
	return opened || err != nil
}

// role distinguishes the files of dpkg's analyzer; other analyzers have one role.
func role(reader, name string) string {
	if reader != string(analyzer.TypeDpkg) {
		return reader
	}
	switch {
	case path.Ext(name) == ".md5sums":
		return reader + " files"
	case path.Base(name) == "available":
		return reader + " available"
	default:
		return reader + " packages"
	}
}

// isPackageDir reports whether the name of a directory gives its files a role, so that a link of
// that name does, too.
func isPackageDir(dir string) bool {
	switch base := path.Base(dir); {
	case strings.Contains(base, ".dist-info"), strings.HasSuffix(base, ".egg-info"):
		return true
	default:
		return slices.Contains([]string{"EGG-INFO", "specifications", "conda-meta"}, base)
	}
}

// packageDirs are directories of which Trivy reads all files.
func packageDirs() []string { return []string{"var/lib/dpkg/status.d", "var/lib/dpkg/info"} }

// fileInfo describes a link as if it were a regular file.
type fileInfo struct {
	name string
	mode fs.FileMode
}

func (f fileInfo) Name() string       { return f.name }
func (f fileInfo) Size() int64        { return 1 << 10 }
func (f fileInfo) Mode() fs.FileMode  { return f.mode }
func (f fileInfo) ModTime() time.Time { return time.Time{} }
func (f fileInfo) IsDir() bool        { return false }
func (f fileInfo) Sys() any           { return nil }
