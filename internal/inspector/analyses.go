package inspector

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/scanner"
)

// analysisFiles are the analyses of layers in a child: it reads those that the parent has, and
// writes its own to the job's directory.
type analysisFiles struct {
	known  map[string]string
	dir    string
	stored []pratique.Digest
}

// Load implements [scanner.Cache]. A file that cannot be read counts as missing.
func (k *analysisFiles) Load(layer pratique.Digest) ([]byte, bool) {
	path, ok := k.known[layer.String()]
	if !ok {
		return nil, false
	}
	body, err := os.ReadFile(path)
	return body, err == nil
}

// Store implements [scanner.Cache].
func (k *analysisFiles) Store(layer pratique.Digest, analysis []byte) error {
	if slices.Contains(k.stored, layer) {
		return nil
	}
	k.stored = append(k.stored, layer)
	return writeDocument(filepath.Join(k.dir, fileAnalysis(layer)), analysis)
}

// fingerprint identifies what the analysis of a layer depends on: the analyzer, the Java database
// and the domain. A compromised child may lie about every layer that it is given, so its analyses
// are used for images of the same domain only.
func (p *Pool) fingerprint(java *scanner.DatabaseDir, domain string) string {
	fingerprint := p.cfg.Fingerprint + " for=" + domain
	if java != nil {
		fingerprint += " java=" + java.Digest.String()
	}
	return fingerprint
}

// pinAnalyses keeps the analyses of an image's layers on disk until release is called, and returns
// their files by diff id.
func (p *Pool) pinAnalyses(img layers.Image, fingerprint string) (files map[string]string,
	release func()) {
	files = map[string]string{}
	var releases []func()
	release = func() {
		for _, r := range releases {
			r()
		}
	}
	if p.cfg.Analyses == nil {
		return files, release
	}
	for _, l := range img.Layers {
		if files[l.DiffID.String()] != "" {
			continue
		}
		path, done, ok := p.cfg.Analyses.Get(l.DiffID, fingerprint)
		releases = append(releases, done)
		if path, err := filepath.Abs(path); ok && err == nil { // a child has another working directory
			files[l.DiffID.String()] = path
		}
	}
	return files, release
}

// storeAnalyses stores the analyses that a child left in dir. The child may be compromised, so only
// analyses of unknown layers of the image are stored: known ones cannot be replaced. A failure to
// store one is no error, since the child's answer is valid without it; a layer that the image does
// not have is an error.
func (p *Pool) storeAnalyses(img layers.Image, fingerprint string, known map[string]string,
	analyzed []pratique.Digest, dir string) error {
	if p.cfg.Analyses == nil {
		return nil
	}
	for _, layer := range analyzed {
		if !slices.ContainsFunc(img.Layers, func(l layers.Layer) bool { return l.DiffID == layer }) {
			return errProtocol
		}
	}
	for _, layer := range analyzed {
		if known[layer.String()] != "" {
			continue
		}
		body, err := readDocument(dir, fileAnalysis(layer), maxAnalysis)
		if errors.Is(err, errProtocol) {
			return err
		}
		if err == nil {
			_ = p.cfg.Analyses.Put(layer, fingerprint, body) // then it is made again
		}
	}
	return nil
}
