package settings

import (
	"reflect"
	"slices"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/config"
)

const allSecrets = `
registries:
  - {host: registry.test, username: u, password: 'env:REGISTRY'}
receivers:
  - {name: main, registry: registry.test, secrets: ['env:SENDER']}
signing: {key: 'env:KEY', passphrase: 'env:PASSPHRASE', publicKeys: ['env:PUBLIC']}
deploy:
  targets:
    - {name: production, repository: 'https://git.test/config', images: ['registry.test/**'], username: u, password: 'env:GIT'}
api: {tokens: [{name: a, token: 'env:TOKEN', submit: true}]}
`

// TestRolesReadTheirPart: a role finds its own secrets in its configuration, and no others.
func TestRolesReadTheirPart(t *testing.T) {
	for _, name := range []string{"REGISTRY", "SENDER", "KEY", "PASSPHRASE", "PUBLIC", "GIT", "TOKEN"} {
		t.Setenv(name, "the secret that is called "+name)
	}
	all, err := config.Parse("f.yaml", []byte(allSecrets))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(secretsIn(reflect.ValueOf(all))); n != 7 {
		t.Fatalf("the configuration has %d secrets", n)
	}
	for role, want := range map[pratique.Role][]string{
		pratique.RoleReceive: {"SENDER"},
		pratique.RoleInspect: {"REGISTRY"}, // it may have a copy of the database
		pratique.RoleAttest:  {"KEY", "PASSPHRASE", "PUBLIC"},
		pratique.RoleDeploy:  {"GIT", "PUBLIC"},
		pratique.RoleQuery:   {"TOKEN"},
	} {
		var have []string
		for _, secret := range secretsIn(reflect.ValueOf(For(role, all))) {
			have = append(have, secret[len("the secret that is called "):])
		}
		if slices.Sort(have); !slices.Equal(have, want) {
			t.Errorf("%s reads %v, want %v", role, have, want)
		}
	}
}

// secretsIn finds the secrets in a configuration.
func secretsIn(v reflect.Value) []string {
	var all []string
	if secret, ok := v.Interface().(config.Secret); ok {
		if !secret.IsZero() {
			all = append(all, secret.Text())
		}
		return all
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				all = append(all, secretsIn(v.Field(i))...)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			all = append(all, secretsIn(v.Index(i))...)
		}
	}
	return all
}
