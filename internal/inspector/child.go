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

// startTimeout is how long a child may take until it is ready: a second, and many on a busy machine, because it
// builds a license scanner.
const startTimeout = 3 * time.Minute

// watchInterval is how often the memory of a working child is looked at.
const watchInterval = 50 * time.Millisecond

// child is one process that parses images, used by one goroutine at a time.
type child struct {
	cmd    *exec.Cmd
	dir    string
	in     *os.File
	out    *os.File
	stderr *tail
	ready  bool
	// domain is that of the images that it has parsed; empty if there is none.
	domain string
	// since is when it was used last, or started.
	since time.Time
	// readable is where the directories that it may read lay when it was started.
	readable []string
	// gone is closed when the process has ended and was waited for.
	gone chan struct{}
	// reaped says that the process id may belong to somebody else by now.
	mu     sync.Mutex
	reaped bool
}

// spawn starts a child that keeps its files in dir, which must not exist.
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
	c := &child{dir: dir, in: in, out: out, stderr: &tail{}, readable: resolve(cfg.Readable), since: time.Now(), gone: make(chan struct{})}
	c.cmd = exec.Command(cfg.Command[0], cfg.Command[1:]...)
	c.cmd.Dir = dir
	// A lazier garbage collector saves a fifth of the CPU time; thrift, and GOMEMLIMIT at last, make it work when there is
	// little memory. The number of processors has to be given, as a child cannot look.
	c.cmd.Env = []string{
		"HOME=" + dir, "TMPDIR=" + dir, "GOGC=300", "GOMEMLIMIT=" + strconv.FormatInt(cfg.MemoryBytes/10*9, 10),
		"GOMAXPROCS=" + strconv.Itoa(runtime.GOMAXPROCS(0)),
	}
	if cfg.Confinement == confine.Off {
		c.cmd.Env = append(c.cmd.Env, confine.EnvOff)
	}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = childIn, childOut, c.stderr
	c.cmd.SysProcAttr = attributes()
	// A grandchild that keeps standard error open must not keep Wait from returning.
	c.cmd.WaitDelay = time.Second
	started := make(chan error, 1)
	go c.superviseThread(cfg, started)
	err = <-started
	closeErr := errors.Join(childIn.Close(), childOut.Close())
	if c.cmd.Process == nil {
		return nil, errors.Join(err, closeErr, in.Close(), out.Close(), os.RemoveAll(dir))
	}
	if err == nil && cfg.Confinement != confine.Off {
		// Half, so that one large file ends the call and not the child. If it fails, for example without /proc, the parent
		// watches memory and bytes all the same.
		if limitErr := confine.Limit(c.cmd.Process.Pid, cfg.WrittenBytes/2); cfg.Confinement == confine.Require {
			err = limitErr
		}
	}
	if err = errors.Join(err, closeErr); err != nil && c.alive() {
		c.stop()
		return nil, err
	}
	return c, nil
}

// superviseThread starts the child and waits for its end, on a thread of its own: Linux kills the child when the thread that
// started it ends, and what confines the thread confines the child. The thread is not given back, so it ends with
// live.
func (c *child) superviseThread(cfg Config, started chan<- error) {
	runtime.LockOSThread()
	started <- c.launch(cfg)
	if c.cmd.Process != nil {
		c.reap()
	}
}

// launch starts the child from this thread. That it gets no descriptors of others is a part of its confinement.
func (c *child) launch(cfg Config) error {
	if err := confine.SealDescriptors(); err != nil && cfg.Confinement == confine.Require {
		return err
	}
	if err := confine.Thread(cfg.Confinement, confine.Access{Command: cfg.Command[0], Dir: c.dir, Readable: cfg.Readable}); err != nil {
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

// outdated reports whether a directory that the child may read was replaced, or made, since it started: the child cannot
// read the new one.
func (c *child) outdated(cfg Config) bool { return !slices.Equal(c.readable, resolve(cfg.Readable)) }

// reap waits for the child's end. What the child had started is killed while the child's process id, which is
// the group's too, is still taken.
func (c *child) reap() {
	defer close(c.gone)
	ended := awaitExit(c.cmd.Process.Pid)
	c.mu.Lock()
	if ended {
		killGroup(c.cmd)
	}
	c.reaped = ended
	c.mu.Unlock()
	_ = c.cmd.Wait() // how it ended is in ProcessState
}

// stop kills the child, waits for its end and deletes its files. It may be called again.
func (c *child) stop() {
	c.mu.Lock()
	if !c.reaped && c.alive() {
		killGroup(c.cmd)
	}
	c.mu.Unlock()
	<-c.gone
	// Errors of closing and deleting concern nobody's result any more.
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

// errNotStarted marks failures from before the child had the whole request: they say nothing about the image.
var errNotStarted = errors.New("the child did not begin")

// exchange sends req and waits for its answer, within the limits. After an error the child is not usable.
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
		return response{}, fmt.Errorf("%w: answer %d to question %d", errProtocol, resp.ID, req.ID)
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

// The limits beyond which watch kills a child. What it holds and writes is its own, so no neighbor is in it.
var (
	errTimeout = errors.New("it took too long")
	errMemory  = errors.New("it used too much memory")
	errWritten = errors.New("it wrote too much")
)

// watch waits for done, and kills the child when ctx ends, time is up, it holds too much memory or has written too
// much. It returns after done was received in every case: killing closes the pipes that the sender waits for.
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
			// Why it was stopped says more than how it ended, but that it never began.
			if err := <-done; errors.Is(err, errNotStarted) && errors.Is(reason, errTimeout) {
				return fmt.Errorf("%w: %w", errNotStarted, reason)
			}
			return reason
		}
	}
}

// overLimit says which limit the child is beyond.
func (c *child) overLimit(cfg Config) error {
	pid := c.cmd.Process.Pid
	if bytes, ok := resident(pid); ok && cfg.MemoryBytes > 0 && bytes > cfg.MemoryBytes {
		return fmt.Errorf("%w: %d MiB, at most %d are allowed", errMemory, bytes>>20, cfg.MemoryBytes>>20)
	}
	if bytes := written(pid); cfg.WrittenBytes > 0 && bytes > cfg.WrittenBytes {
		return fmt.Errorf("%w: %d MiB more than is allowed", errWritten, max(1, (bytes-cfg.WrittenBytes)>>20))
	}
	return nil
}

// errCrash marks the end of a child that nobody asked for.
var errCrash = errors.New("the child died")

// errKilled marks the end of a child that somebody else killed. It may have been the neighbors' memory.
var errKilled = errors.New("it was killed from outside, as the kernel does when memory runs out")

// errForbidden marks the end of a child that made a system call which no parser makes.
var errForbidden = errors.New("it tried what no parser does")

// classify stops the child after an error of exchange, classes the error and adds what the child had to say.
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
	if said := c.stderr.String(); said != "" {
		err = fmt.Errorf("%w; it said: %s", err, said)
	}
	return &pratique.Error{Op: "run inspector", Kind: kind, Err: err}
}

// crash says how a child ended that closed its side of the conversation.
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

// readDocument reads a file that the child left in the directory of a job. The child parses hostile bytes, so the
// name is not followed out of the directory, and what is not a regular file is not opened to be waited for.
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
		return nil, pratique.Errorf(pratique.Exhausted, "read document", "%s has %d bytes, at most %d are read", name, info.Size(), most)
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
