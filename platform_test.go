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
