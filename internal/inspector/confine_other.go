//go:build !linux

package inspector

import "errors"

// probe: the confinement is written for Linux.
func probe() Confined {
	return Confined{Missing: []string{partPrivileges, partLimits, partLandlock, partSeccomp}}
}

func confineThread(cfg Config, _ string) error {
	if cfg.Confinement == ConfineRequire {
		return errUnconfined
	}
	return nil
}

func limitProcess(int, Config) error { return nil }

func filterCalls() error { return errors.ErrUnsupported }
