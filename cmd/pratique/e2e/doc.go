// Package e2e has the tests that run the whole program, with real servers around it, and those that
// measure it. The test binary is also the program under test.
package e2e
