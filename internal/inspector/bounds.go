package inspector

import (
	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Bounds of what an image's configuration says, in bytes. Build tools that write their whole bill
// of materials into labels stay below 200 KB.
const (
	// Bounds of an image's configuration, in bytes. Build tools that write a whole bill of
	// materials into labels stay below 200 KB.
	maxUser     = 1 << 10
	maxPlatform = 256
	maxLabels   = 1 << 20
)

// checkConfig refuses a configuration that is larger than any real one.
func checkConfig(c pratique.ImageConfig) error {
	const op = "read image configuration"
	labels := 0
	for k, v := range c.Labels {
		labels += len(k) + len(v)
	}
	switch {
	case len(c.User) > maxUser:
		return pratique.Errorf(pratique.Exhausted, op, "the user has %d bytes, the limit is %d",
			len(c.User), maxUser)
	case len(c.Platform) > maxPlatform:
		return pratique.Errorf(pratique.Exhausted, op, "the platform has %d bytes, the limit is %d",
			len(c.Platform), maxPlatform)
	case labels > maxLabels:
		return pratique.Errorf(pratique.Exhausted, op, "the labels have %d bytes, the limit is %d",
			labels, maxLabels)
	}
	return nil
}

// checkInspected repeats the child's own checks, since the child may be compromised.
func checkInspected(in *inspected) error {
	if err := checkConfig(in.Image); err != nil {
		return err
	}
	if len(in.Generator.Name)+len(in.Generator.Version) > maxUser {
		return errProtocol
	}
	return scanner.CheckBounds(in.Inventory)
}
