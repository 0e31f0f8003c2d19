package inspector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/confine"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/scanner"
)

var errClosed = errors.New("the pool is closed")

// Pool keeps children and gives each one request at a time. Its methods may be called concurrently;
// calls wait for an idle child.
type Pool struct {
	cfg        Config
	root       string
	lock       *os.File
	idle       chan *child   // nil is a place without a child
	afterCrash chan struct{} // held by a call after a crash
	ctx        context.Context
	cancel     context.CancelFunc
	mu         sync.Mutex
	closed     bool
	working    sync.WaitGroup
	serial     atomic.Int64
	requests   atomic.Int64
}

// New checks cfg. Nothing runs before [Pool.Start].
func New(cfg Config) (*Pool, error) {
	if len(cfg.Command) == 0 {
		return nil, pratique.Errorf(pratique.Invalid, "make inspector pool",
			"no command for the children")
	}
	if cfg.Children < 1 {
		cfg.Children = 1
	}
	if cfg.Warm < 1 || cfg.Warm > cfg.Children {
		cfg.Warm = cfg.Children
	}
	if cfg.Domain == nil {
		cfg.Domain = Project
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.MemoryBytes <= 0 {
		cfg.MemoryBytes = defaultMemory
	}
	if cfg.WrittenBytes <= 0 {
		cfg.WrittenBytes = defaultWritten
	}
	cfg.Readable = slices.Clone(cfg.Readable)
	for i, dir := range cfg.Readable { // a child has another working directory
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, pratique.Wrap(pratique.Invalid, "make inspector pool", dir, err)
		}
		cfg.Readable[i] = abs
	}
	return &Pool{cfg: cfg, idle: make(chan *child, cfg.Children), afterCrash: make(chan struct{}, 1)}, nil
}

// Start starts the children and returns while they warm up; the first call waits for that. They
// live until [Pool.Close], not until ctx ends. The error is Unavailable if the command cannot be
// run. Call it once.
func (p *Pool) Start(ctx context.Context) error {
	const op = "start inspector"
	if err := ctx.Err(); err != nil {
		return pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	if has := confine.Probe(); p.cfg.Confinement == confine.Require && len(has.Missing) > 0 {
		return pratique.Errorf(pratique.Unavailable, op, "%w: this machine has no %s",
			confine.ErrUnavailable, strings.Join(has.Missing, ", "))
	}
	base, err := filepath.Abs(cmp.Or(p.cfg.TempDir, os.TempDir()))
	if err != nil {
		return pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	root, lock, err := claim(base)
	if err != nil {
		return pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	p.mu.Lock()
	p.root, p.lock = root, lock
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.mu.Unlock()
	var first error
	for i := range p.cfg.Children {
		var c *child
		if i < p.cfg.Warm {
			var err error
			if c, err = p.spawn(); err != nil && first == nil {
				first = err
			}
		}
		p.idle <- c
	}
	if first != nil {
		return errors.Join(pratique.Wrap(pratique.Unavailable, op, "", first), p.Close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.working.Go(p.retireIdle)
	}
	return nil
}

// Confinement returns the parts of the confinement that this machine has, and none if it is off.
func (p *Pool) Confinement() confine.Parts {
	if p.cfg.Confinement == confine.Off {
		return confine.Parts{}
	}
	return confine.Probe()
}

func (p *Pool) spawn() (*child, error) {
	return spawn(p.cfg, filepath.Join(p.root, fmt.Sprintf("child-%d", p.serial.Add(1))))
}

// Close kills the children, waits for running calls to fail, and deletes the pool's files. It may
// be called again.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed || p.cancel == nil {
		p.closed = true
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.working.Wait()
	for range p.cfg.Children {
		if c := <-p.idle; c != nil {
			c.stop()
		}
	}
	err := errors.Join(os.RemoveAll(p.root), p.lock.Close())
	return pratique.Wrap(pratique.Unavailable, "stop inspector", "", err)
}

// Inspect makes a child analyze img and generate its SBOMs. The error is Exhausted if the child
// exceeded its time, memory or disk limits, Died if it ended for another reason, Corrupt if it
// could not parse the image, and Unavailable for a problem of this machine. After a crash it quotes
// the child's standard error, and the next call gets a fresh child.
func (p *Pool) Inspect(ctx context.Context, img layers.Image) (Result, error) {
	if p.cfg.MatchOnly {
		return Result{}, pratique.Errorf(pratique.Internal, "inspect image",
			"these processes only match, and never parse an image")
	}
	img.Layers = slices.Clone(img.Layers)
	for i := range img.Layers {
		path, err := filepath.Abs(img.Layers[i].Path) // a child has another working directory
		if err != nil {
			return Result{}, pratique.Wrap(pratique.Unavailable, "inspect image",
				img.Subject.String(), err)
		}
		img.Layers[i].Path = path
	}
	java, err := p.java()
	if err != nil {
		return Result{}, err
	}
	domain := p.cfg.Domain(img.Subject)
	fingerprint := p.fingerprint(java, domain)
	known, release := p.pinAnalyses(img, fingerprint)
	defer release()
	chosen := p.cfg.Shadow != nil && p.cfg.Shadow(img.Subject)
	var result Result
	req := request{Op: opInspect, Image: &img, Java: java, Shadow: chosen,
		Fingerprint: p.cfg.Fingerprint, Analyses: known}
	err = p.do(ctx, domain, req, func(resp response, dir string) error {
		if resp.Inspected == nil || !resp.Inspected.Compared.Bounded() ||
			(resp.Inspected.Checked != nil) != chosen {
			return errProtocol
		}
		in := resp.Inspected
		if err := checkInspected(in); err != nil {
			return err
		}
		result = Result{Inspection: in.Inspection}
		if java != nil {
			result.JavaDatabase, result.JavaUpdatedAt = java.Digest, java.UpdatedAt
		}
		var err error
		if result.SPDX, err = readDocument(dir, fileSPDX, maxDocument); err != nil {
			return err
		}
		if result.CycloneDX, err = readDocument(dir, fileCycloneDX, maxDocument); err != nil {
			return err
		}
		if in.Checked != nil {
			result.Shadow = &Shadow{Generated: *in.Checked,
				Full: digestsOf(result.SPDX, result.CycloneDX)}
		}
		return p.storeAnalyses(img, fingerprint, known, in.Analyzed, dir)
	})
	if err != nil {
		return Result{}, pratique.Wrap(pratique.Unknown, "inspect image", img.Subject.String(), err)
	}
	return result, nil
}

// Match makes a child match inventories, at least one, against the database in db.Dir, and returns
// the reports in the same order. The child has parsed no image. An invalid answer is Internal;
// other errors are those of Inspect.
func (p *Pool) Match(ctx context.Context, inventories []pratique.Inventory,
	db scanner.DatabaseDir) ([]pratique.Report, error) {
	const op = "match inventory"
	dir, err := filepath.Abs(db.Dir)
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	db.Dir = dir
	var reports []pratique.Report
	err = p.do(ctx, domainMatch, request{Op: opMatch, Inventories: inventories, Database: &db},
		func(resp response, _ string) error {
			if len(resp.Reports) != len(inventories) {
				return errProtocol
			}
			reports = resp.Reports
			return nil
		})
	if errors.Is(err, errProtocol) {
		return nil, pratique.Wrap(pratique.Internal, op, "", err)
	}
	if err != nil {
		return nil, pratique.Wrap(pratique.Unknown, op, "", err)
	}
	return reports, nil
}

// Requests counts the requests to children so far.
func (p *Pool) Requests() int64 { return p.requests.Load() }

// domainMatch is the domain of children that match; no image has it.
const domainMatch = "match"

// do gives req to an idle child, and its answer to accept, with the job's directory. The child is
// unused, or was used for the same domain only; after a crash it is unused.
func (p *Pool) do(ctx context.Context, domain string, req request,
	accept func(resp response, dir string) error) error {
	ctx, leave, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer leave()
	p.requests.Add(1)
	again, wanted := isAfterCrash(ctx), domain
	if again {
		next, err := p.acquireAfterCrash(ctx)
		if err != nil {
			return err
		}
		defer next()
		wanted = "" // an unused child is best
	}
	c, err := p.acquire(ctx, wanted)
	if err != nil {
		return err
	}
	defer func() { p.release(c) }()
	foreign := c != nil && c.domain != "" && c.domain != domain &&
		!(p.cfg.OwnMatch && domain == domainMatch)
	if foreign || again && c != nil && c.domain != "" {
		c = discard(c)
	}
	const attempts = 2
	for range attempts {
		if c, err = p.usable(c); err != nil {
			return pratique.Wrap(pratique.Unavailable, "start inspector", "", err)
		}
		fresh := c.domain == ""
		if fresh {
			c.domain = domain
		}
		err = p.run(ctx, c, req, accept)
		// The request is not to blame for a child that died idle, or for memory that earlier
		// requests left.
		if innocent := errors.Is(err, errNotStarted) || !fresh &&
			errors.Is(err, errMemory); !innocent || ctx.Err() != nil {
			break
		}
	}
	if again {
		c = discard(c)
	}
	if ctx.Err() == nil {
		// start a replacement now; if that fails, the next call tries again and reports it
		c, _ = p.usable(c)
	}
	return err
}

// begin counts a call, and ends its context with the pool's.
func (p *Pool) begin(ctx context.Context) (context.Context, func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.cancel == nil {
		return nil, nil, pratique.Wrap(pratique.Unavailable, "run inspector", "", errClosed)
	}
	p.working.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	release := context.AfterFunc(p.ctx, func() { cancel(errClosed) })
	return ctx, func() {
		release()
		cancel(nil)
		p.working.Done()
	}, nil
}

// usable returns c, or a new child if c is dead, outdated, or so big that the next image would be
// blamed for it.
func (p *Pool) usable(c *child) (*child, error) {
	if c != nil && c.alive() && !c.outdated(p.cfg) {
		if bytes, ok := resident(c.cmd.Process.Pid); !ok || bytes <= p.cfg.MemoryBytes/2 {
			return c, nil
		}
	}
	discard(c)
	return p.spawn()
}

// discard stops c, if there is one, and returns nil.
func discard(c *child) *child {
	if c != nil {
		c.stop()
	}
	return nil
}

// run does one job with c. When it returns, c is either ready for the next one or stopped.
func (p *Pool) run(ctx context.Context, c *child, req request,
	accept func(resp response, dir string) error) error {
	req.ID = p.serial.Add(1)
	req.Dir = filepath.Join(c.dir, fmt.Sprintf("job-%d", req.ID))
	if err := os.Mkdir(req.Dir, 0o700); err != nil {
		return pratique.Wrap(pratique.Unavailable, "run inspector", "", err)
	}
	resp, err := c.exchange(ctx, p.cfg, req)
	if err != nil {
		return c.classify(err) // stopping the child deleted the directory
	}
	if resp.Failure != nil {
		err = resp.Failure.err()
	} else if err = accept(resp, req.Dir); err != nil && pratique.KindOf(err) == pratique.Unknown {
		err = c.classify(err)
	}
	if removeErr := os.RemoveAll(req.Dir); err == nil && removeErr != nil {
		err = pratique.Wrap(pratique.Unavailable, "run inspector", "", removeErr)
	}
	return err
}
