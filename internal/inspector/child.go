package inspector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/confine"
)

// startTimeout is how long a child may take to start: a second, and much longer on a busy machine,
// because it builds a license scanner.
const startTimeout = 3 * time.Minute

// watchInterval is how often the memory of a working child is checked.
const watchInterval = 50 * time.Millisecond

// child is a process that parses images. It is used by one goroutine at a time.
type child struct {
	cmd    *exec.Cmd
	dir    string
	in     *os.File
	out    *os.File
	stderr *tail
	ready  bool
	// domain is that of the images it has parsed; empty if there is none.
	domain string
	// since is when it was last used, or started.
	since time.Time
	// readable is where the directories that it may read were when it started.
	readable []string
	// gone is closed when the process has ended and was waited for.
	gone chan struct{}
	// reaped is set when the process id may have been reused.
	mu     sync.Mutex
	reaped bool
}

// spawn starts a child with its files in dir, which must not exist.
func spawn(cfg Config, dir string) (*child, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, childIn.Close(), in.Close())
	}
	c := &child{dir: dir, in: in, out: out, stderr: &tail{}, readable: resolve(cfg.Readable),
		since: time.Now(), gone: make(chan struct{})}
	c.cmd = exec.Command(cfg.Command[0], cfg.Command[1:]...)
	c.cmd.Dir = dir
	// Lazy garbage collection saves a fifth of the CPU time; limitHeap and GOMEMLIMIT bound it. A
	// confined child cannot find out the number of processors.
	c.cmd.Env = []string{
		"HOME=" + dir, "TMPDIR=" + dir, "GOGC=300", "GOMEMLIMIT=" +
			strconv.FormatInt(cfg.MemoryBytes/10*9, 10),
		"GOMAXPROCS=" + strconv.Itoa(runtime.GOMAXPROCS(0)),
	}
	if cfg.Confinement == confine.Off {
		c.cmd.Env = append(c.cmd.Env, confine.EnvOff)
	}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = childIn, childOut, c.stderr
	c.cmd.SysProcAttr = attributes()
	// A grandchild that keeps standard error open must not block Wait.
	c.cmd.WaitDelay = time.Second
	started := make(chan error, 1)
	go c.superviseThread(cfg, started)
	err = <-started
	closeErr := errors.Join(childIn.Close(), childOut.Close())
	if c.cmd.Process == nil {
		return nil, errors.Join(err, closeErr, in.Close(), out.Close(), os.RemoveAll(dir))
	}
	if err == nil && cfg.Confinement != confine.Off {
		// Half, so that one large file ends the call and not the child. If it fails, for example
		// without /proc, the parent watches memory and bytes all the same.
		if limitErr := confine.Limit(c.cmd.Process.Pid,
			cfg.WrittenBytes/2); cfg.Confinement == confine.Require {
			err = limitErr
		}
	}
	if err = errors.Join(err, closeErr); err != nil && c.alive() {
		c.stop()
		return nil, err
	}
	return c, nil
}

// superviseThread starts the child and waits for its end, on a thread of its own: Linux kills the
// child when the thread that started it ends, and the confinement of the thread is inherited. The
// thread is not unlocked, so it ends with this function.
func (c *child) superviseThread(cfg Config, started chan<- error) {
	runtime.LockOSThread()
	started <- c.launch(cfg)
	if c.cmd.Process != nil {
		c.reap()
	}
}

// launch starts the child from this thread, without inherited descriptors.
func (c *child) launch(cfg Config) error {
	if err := confine.SealDescriptors(); err != nil && cfg.Confinement == confine.Require {
		return err
	}
	if err := confine.Thread(cfg.Confinement, confine.Access{Command: cfg.Command[0], Dir: c.dir,
		Readable: cfg.Readable}); err != nil {
		return err
	}
	return c.cmd.Start()
}

// resolve returns where the directories are now, without links; "" for one that is missing.
func resolve(dirs []string) []string {
	found := make([]string, len(dirs))
	for i, dir := range dirs {
		if resolved, err := filepath.EvalSymlinks(dir); err == nil {
			found[i] = resolved
		}
	}
	return found
}

// outdated reports whether a directory that the child may read was replaced, or made, since it
// started: the child cannot read the new one.
func (c *child) outdated(cfg Config) bool { return !slices.Equal(c.readable, resolve(cfg.Readable)) }

// reap waits for the child's end. It kills the child's group while the process id, which is the
// group's, cannot be reused.
func (c *child) reap() {
	defer close(c.gone)
	ended := awaitExit(c.cmd.Process.Pid)
	c.mu.Lock()
	if ended {
		killGroup(c.cmd)
	}
	c.reaped = ended
	c.mu.Unlock()
	_ = c.cmd.Wait() // the result is in ProcessState
}

// stop kills the child, waits for its end and deletes its files. It may be called again.
func (c *child) stop() {
	c.mu.Lock()
	if !c.reaped && c.alive() {
		killGroup(c.cmd)
	}
	c.mu.Unlock()
	<-c.gone
	// Errors of closing and deleting do not matter any more.
	_ = c.in.Close()
	_ = c.out.Close()
	_ = os.RemoveAll(c.dir)
}

// alive reports whether the process has not ended yet.
func (c *child) alive() bool {
	select {
	case <-c.gone:
		return false
	default:
		return true
	}
}

// errNotStarted marks failures before the child had the whole request: the image is not at fault.
var errNotStarted = errors.New("the child did not begin")

// exchange sends req and waits for the answer, within the limits. After an error the child cannot
// be used any more.
func (c *child) exchange(ctx context.Context, cfg Config, req request) (response, error) {
	if err := c.await(ctx, cfg); err != nil {
		return response{}, err
	}
	cfg.WrittenBytes += written(c.cmd.Process.Pid) // what earlier requests wrote does not count
	var resp response
	done := make(chan error, 1)
	go func() {
		if err := writeFrame(c.in, req); err != nil {
			done <- fmt.Errorf("%w: %w", errNotStarted, err)
			return
		}
		var a accepted
		if err := readFrame(c.out, &a); err != nil {
			done <- fmt.Errorf("%w: %w", errNotStarted, err)
			return
		}
		done <- readFrame(c.out, &resp)
	}()
	err := c.watch(ctx, done, cfg)
	if err != nil {
		return response{}, err
	}
	if resp.ID != req.ID {
		return response{}, fmt.Errorf("%w: answer %d to request %d", errProtocol, resp.ID, req.ID)
	}
	return resp, nil
}

// await reads the child's first message, once.
func (c *child) await(ctx context.Context, cfg Config) error {
	if c.ready {
		return nil
	}
	var h hello
	done := make(chan error, 1)
	go func() { done <- readFrame(c.out, &h) }()
	err := c.watch(ctx, done, Config{Timeout: startTimeout})
	if err == nil && h.Protocol != protocol {
		err = fmt.Errorf("%w: protocol %q, want %q", errProtocol, h.Protocol, protocol)
	}
	if err == nil && cfg.Confinement == confine.Require && !slices.Contains(h.Confined, confine.Seccomp) {
		err = fmt.Errorf("%w: it has no %s", confine.ErrUnavailable, confine.Seccomp)
	}
	if err != nil {
		return fmt.Errorf("%w: it did not start: %w", errNotStarted, err)
	}
	c.ready = true
	return nil
}

// The limits at which watch kills a child. They count the child's own memory and writes only.
var (
	errTimeout = errors.New("it took too long")
	errMemory  = errors.New("it used too much memory")
	errWritten = errors.New("it wrote too much")
)

// watch waits for done. It kills the child when ctx ends or the child exceeds its time, memory or
// written bytes. It always receives from done before it returns: killing the child closes the pipes
// on which the sender waits.
func (c *child) watch(ctx context.Context, done <-chan error, cfg Config) error {
	timer := time.NewTimer(cfg.Timeout)
	defer timer.Stop()
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		var reason error
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			reason = ctx.Err()
		case <-timer.C:
			reason = fmt.Errorf("%w: more than %s", errTimeout, cfg.Timeout)
		case <-ticker.C:
			reason = c.overLimit(cfg)
		}
		if reason != nil {
			c.stop()
			// The reason for stopping it is the better error, unless it never began.
			if err := <-done; errors.Is(err, errNotStarted) && errors.Is(reason, errTimeout) {
				return fmt.Errorf("%w: %w", errNotStarted, reason)
			}
			return reason
		}
	}
}

// overLimit returns the error of the limit that the child exceeds.
func (c *child) overLimit(cfg Config) error {
	pid := c.cmd.Process.Pid
	if bytes, ok := resident(pid); ok && cfg.MemoryBytes > 0 && bytes > cfg.MemoryBytes {
		return fmt.Errorf("%w: %d MiB, at most %d are allowed", errMemory, bytes>>20, cfg.MemoryBytes>>20)
	}
	if bytes := written(pid); cfg.WrittenBytes > 0 && bytes > cfg.WrittenBytes {
		return fmt.Errorf("%w: %d MiB more than is allowed", errWritten,
			max(1, (bytes-cfg.WrittenBytes)>>20))
	}
	return nil
}

// errCrash marks a child that ended by itself.
var errCrash = errors.New("the child died")

// errKilled marks a child that was killed by somebody else, perhaps because other processes used up
// the memory.
var errKilled = errors.New("it was killed from outside, as the kernel does when memory runs out")

// errForbidden marks a child that made a system call which no parser makes.
var errForbidden = errors.New("it tried what no parser does")

// classify stops the child after an error of exchange, and returns the error with a kind and with
// what the child wrote to standard error.
func (c *child) classify(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = c.crash(err)
	}
	c.stop()
	kind := pratique.Died
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return pratique.Wrap(pratique.Unavailable, "run inspector", "", err)
	case errors.Is(err, errNotStarted):
		kind = pratique.Unavailable
	case errors.Is(err, errTimeout), errors.Is(err, errMemory), errors.Is(err, errWritten):
		kind = pratique.Exhausted
	}
	if output := c.stderr.String(); output != "" {
		err = fmt.Errorf("%w; it wrote: %s", err, output)
	}
	return &pratique.Error{Op: "run inspector", Kind: kind, Err: err}
}

// crash describes how a child ended that closed its output.
func (c *child) crash(err error) error {
	select {
	case <-c.gone:
	case <-time.After(time.Second):
		return fmt.Errorf("%w: it closed its output", errCrash)
	}
	state, reason := c.cmd.ProcessState, errCrash
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		switch status.Signal() {
		case syscall.SIGKILL:
			reason = errKilled
		case syscall.SIGSYS:
			reason = errForbidden
		}
	}
	if errors.Is(err, errNotStarted) {
		return fmt.Errorf("%w, %w: %s", err, reason, state)
	}
	return fmt.Errorf("%w: %s", reason, state)
}

// readDocument reads a file that the child left in the job's directory. The child may be
// compromised, so links do not lead out of the directory, and files that would block when opened
// are refused.
func readDocument(dir, name string, most int64) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "read document", "", err)
	}
	defer func() { _ = root.Close() }() // nothing was written
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return nil, pratique.Wrap(pratique.Unavailable, "read document", "", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProtocol, err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "read document", "", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a file", errProtocol, name)
	}
	if info.Size() > most {
		return nil, pratique.Errorf(pratique.Exhausted, "read document",
			"%s has %d bytes, at most %d are read", name, info.Size(), most)
	}
	body := make([]byte, info.Size())
	switch _, err := io.ReadFull(f, body); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: %s got shorter", errProtocol, name)
	case err != nil:
		return nil, pratique.Wrap(pratique.Unavailable, "read document", "", err)
	}
	return body, nil
}
