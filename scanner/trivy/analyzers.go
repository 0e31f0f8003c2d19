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

// roles are what Trivy would take a file for: the names of analyzers that read it for the sake of packages or of the
// operating system. Two files with the same content and the same role say the same.
type roles map[string]bool

func (r roles) without(other roles) roles {
	left := maps.Clone(r)
	maps.DeleteFunc(left, func(role string, _ bool) bool { return other[role] })
	return left
}

func (r roles) add(other roles) { maps.Copy(r, other) }

// analyzers knows by which paths Trivy's analyzers take a file. It asks them, so that a new version of Trivy brings its own.
type analyzers struct {
	group  analyzer.AnalyzerGroup
	others map[string][]analyzer.Type // by analyzer, all but that one
	fixed  map[string]bool            // paths at which some analyzer looks, and at no other
	// releases are those of them that say which distribution it is.
	releases map[string]bool
	programs roles // of what may be run, whatever its path
}

// packageOption is that of a group of the analyzers that find packages and the operating system. Secrets, configurations and
// license texts speak for themselves wherever they lie.
func packageOption(option artifact.Option) artifact.Option {
	option.DisabledAnalyzers = slices.Concat(option.DisabledAnalyzers, analyzer.TypeConfigFiles, []analyzer.Type{
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
	r := &analyzers{group: group, others: map[string][]analyzer.Type{}, fixed: map[string]bool{}, releases: map[string]bool{}}
	versions := group.AnalyzerVersions()
	all := slices.Concat(slices.Collect(maps.Keys(versions.Analyzers)), slices.Collect(maps.Keys(versions.PostAnalyzers)))
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
			if t := analyzer.Type(name); slices.Contains(analyzer.TypeOSes, t) && !slices.Contains(packageTypes(), t) {
				r.releases[p] = true
			}
		}
	}
	const program = 0o755
	r.programs = r.rolesByName("x", program)
	return r, nil
}

// packageTypes are the analyzers of the operating system that read packages, and not which one it is.
func packageTypes() []analyzer.Type {
	return []analyzer.Type{
		analyzer.TypeApk, analyzer.TypeBottlerocketInventory, analyzer.TypeDpkg, analyzer.TypeDpkgLicense, analyzer.TypeRpm,
		analyzer.TypeRpmqa, analyzer.TypeApkRepo, analyzer.TypeApkCommand,
	}
}

// roles returns what a regular file would be taken for at a path.
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

// wouldRead reports whether an analyzer that is not among some would read the file. Trivy does not say which one it was, so
// it is told that the file may not be opened, and asked for one analyzer after the other.
func (r *analyzers) wouldRead(name string, info fs.FileInfo, but []analyzer.Type) bool {
	opened := false
	refuse := func() (xio.ReadSeekCloserAt, error) {
		opened = true
		return nil, fs.ErrPermission
	}
	err := r.group.AnalyzeFile(context.Background(), nil, nil, nil, "", name, info, refuse, but, analyzer.AnalysisOptions{})
	return opened || err != nil
}

// role tells apart what dpkg's analyzer takes its files for; other analyzers have one use for all of theirs.
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

// isPackageDir reports whether a directory gives what is in it a meaning by its name, so that a link of that name does.
func isPackageDir(dir string) bool {
	switch base := path.Base(dir); {
	case strings.Contains(base, ".dist-info"), strings.HasSuffix(base, ".egg-info"):
		return true
	default:
		return slices.Contains([]string{"EGG-INFO", "specifications", "conda-meta"}, base)
	}
}

// packageDirs are directories of which Trivy reads every file.
func packageDirs() []string { return []string{"var/lib/dpkg/status.d", "var/lib/dpkg/info"} }

// fileInfo is what a link would be taken for if it were a regular file.
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
