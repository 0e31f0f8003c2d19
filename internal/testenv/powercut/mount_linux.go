package powercut

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// maxWrite is the most that the kernel hands over as one write, in bytes.
const maxWrite = 1 << 20

// mount serves d at dir.
func mount(d *disk, dir string) (unmount func() error, err error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, &fs.PathError{Op: "mount at", Path: dir, Err: syscall.ENOTDIR}
	}
	k := &kernel{RawFileSystem: fuse.NewDefaultRawFileSystem(), disk: d, reading: map[uint64][]entry{}}
	server, err := fuse.NewServer(k, dir, &fuse.MountOptions{
		DirectMountStrict: true, // the helper program is not everywhere
		FsName:            "powercut", Name: "powercut",
		MaxWrite: maxWrite, MaxReadAhead: maxWrite,
		DisableReadDirPlus: true, DisableXAttrs: true,
		// Whatever changes a file goes through the kernel, which so keeps its pages right by itself.
		ExplicitDataCacheControl: true,
		Logger:                   log.New(os.Stderr, "powercut: ", 0),
	})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENODEV):
		return nil, fmt.Errorf("%w (%w)", errors.ErrUnsupported, err)
	case err != nil:
		return nil, err
	}
	var serving sync.WaitGroup
	serving.Go(server.Serve)
	if err := server.WaitMount(); err != nil {
		return nil, err
	}
	return func() error {
		if err := syscall.Unmount(dir, 0); err == nil {
			serving.Wait()
			return nil
		}
		// Files are open, perhaps those of a server that died with the power and does not know it.
		// The end of this process ends the connection and with it what they hold.
		return syscall.Unmount(dir, syscall.MNT_DETACH)
	}, nil
}
