package database

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// TestFullDisk: what finds no room changes nothing, and when there is room again the download is
// not repeated.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=160k"); err != nil {
		t.Skip("no right to mount a small disk: ", err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	layer := bulky(t, "CVE-2026-0002", today)
	src := newFlaky(t, layer)
	cfg := Config{Sources: []string{src.ref}, Dir: dir}
	s := open(t, cfg)
	if _, err := s.Do(t.Context(),
		Request{File: write(t, "x", good(t, "CVE-2026-0001", today.Add(-time.Hour)))}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := s.Update(t.Context())
		wantKind(t, err, pratique.Unavailable)
		if !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
			t.Errorf("error %v", err)
		}
		mustHold(t, s, "CVE-2026-0001")
		generations(t, dir)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, s, true, "CVE-2026-0002")
	if _, served := src.seen(); served != len(layer) {
		t.Errorf("%d bytes came of %d", served, len(layer))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
