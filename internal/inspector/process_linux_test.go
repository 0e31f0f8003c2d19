package inspector

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pratique-dev/pratique/internal/confine"
)

// TestInheritedDescriptors: what somebody left open for the service (exec 9</secret; pratique
// serve) does not reach the children, where nothing would keep a parser from reading it.
func TestInheritedDescriptors(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(secret, unix.O_RDONLY, 0) // without O_CLOEXEC, as a shell opens it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	c, err := spawn(Config{Command: []string{os.Args[0], verb}, MemoryBytes: 1 << 30,
		Confinement: confine.Off}, filepath.Join(t.TempDir(), "child"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	open := fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid)
	all, err := os.ReadDir(open)
	if err != nil || len(all) < 3 {
		t.Fatalf("%d descriptors, %v", len(all), err)
	}
	for _, item := range all {
		if to, _ := os.Readlink(filepath.Join(open, item.Name())); to == secret {
			t.Errorf("the child has %s as descriptor %s", to, item.Name())
		}
	}
}
