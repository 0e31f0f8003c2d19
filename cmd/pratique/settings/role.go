package settings

import (
	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/config"
)

// For returns what a role may read of the configuration: secrets of other roles are not in it. The
// table in docs/ARCHITECTURE.md says who holds what.
func For(role pratique.Role, c config.Config) config.Config {
	of := config.Config{DataDir: c.DataDir, Workers: c.Workers}
	switch role {
	case pratique.RoleReceive:
		of.Receivers, of.Reconcile, of.Queue = c.Receivers, c.Reconcile, c.Queue
		for _, r := range c.Registries { // what it needs of them beside the client
			of.Registries = append(of.Registries, config.Registry{Host: r.Host, Aliases: r.Aliases})
		}
	case pratique.RoleInspect:
		of.Inspect, of.Database, of.Policy = c.Inspect, c.Database, c.Policy
		of.Registries = c.Registries // one of them may have a copy of the database
	case pratique.RoleAttest:
		of.Signing, of.Policy, of.Deploy.MaxVerdictAge = c.Signing, c.Policy, c.Deploy.MaxVerdictAge
	case pratique.RoleDeploy:
		of.Deploy = c.Deploy
		of.Signing.PublicKeys, of.Signing.VerifierID = c.Signing.PublicKeys, c.Signing.VerifierID
	case pratique.RoleQuery:
		of.API, of.PublicURL = c.API, c.PublicURL
	}
	return of
}
