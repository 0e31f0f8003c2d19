package pratique

import "testing"

func TestMayRunOn(t *testing.T) {
	tests := []struct {
		image, machine Platform
		want           bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/x86_64", "linux/amd64", true},
		{"Linux/AMD64", "linux/amd64", true},
		{"linux/amd64/v3", "linux/amd64", true},
		{"linux/arm64/v8", "linux/arm64", true},
		{"linux/aarch64", "linux/arm64/v8", true},
		{"linux/arm/v6", "linux/arm/v7", true},
		{"linux/arm/v7", "linux/arm64", true}, // what containerd falls back to
		{"linux/386", "linux/amd64", true},
		{"linux/pdp11", "linux/amd64", true}, // not known: somebody may know it
		{"", "linux/amd64", true},
		// half a platform: containerd and Docker fill in the rest, or take it for any
		{"linux/", "linux/amd64", true},
		{"/amd64", "linux/amd64", true},
		{"/arm64", "linux/amd64", false},
		{"linux/amd64", "freebsd/amd64", true}, // containerd's default there
		{"linux/arm64", "macos/arm64", true},
		{"linux/amd64", "windows/amd64", false},
		{"linux/arm64", "linux/amd64", false},
		{"linux/amd64", "linux/386", false},
		{"linux/s390x", "linux/amd64", false},
		{"windows/amd64", "linux/amd64", false},
	}
	for _, tt := range tests {
		if got := tt.image.MayRunOn(tt.machine); got != tt.want {
			t.Errorf("%q on %q: %v, want %v", tt.image, tt.machine, got, tt.want)
		}
	}
}

func TestPlatformAgrees(t *testing.T) {
	for _, tt := range []struct {
		a, b Platform
		want bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/amd64", "Linux/x86_64", true},
		{"linux/arm/v7", "linux/arm/v6", true},
		{"linux/", "linux/arm64", true},
		{"", "linux/arm64", true},
		{"linux/amd64", "linux/arm64", false},
		{"windows/amd64", "linux/amd64", false},
	} {
		if tt.a.Agrees(tt.b) != tt.want || tt.b.Agrees(tt.a) != tt.want {
			t.Errorf("%q and %q: want %v", tt.a, tt.b, tt.want)
		}
	}
}
