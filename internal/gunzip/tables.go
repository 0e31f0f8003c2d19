package gunzip

import "math/bits"

// entry is what a table says about the bits that come next:
//
//	bits 0-5    how many bits the symbol takes, its extra bits included
//	bits 8-11   how many of them are the code
//	bits 12-15  invalid, end, subtable, and exceptional, which goes with each of these
//	bits 16-30  the literal, or the smallest length or distance, to which the extra bits are added; with subtable the
//	            place of another table, which has 2^(bits 8-11) entries for the bits after those of the first
//	bit 31      literal
type entry uint32

const (
	totalMask   entry = 0x3f
	codeShift         = 8
	codeMask    entry = 0xf
	invalid     entry = 1 << 12
	end         entry = 1 << 13
	subtable    entry = 1 << 14
	exceptional entry = 1 << 15
	valueShift        = 16
	literal     entry = 1 << 31
)

// The tables decide on so many bits at once; longer codes, which are rare, take a second look.
const (
	literalBits  = 11
	distanceBits = 8
	codeBits     = 7
	longest      = 15
)

// tables are those of one block. A second table stands for at least two of the codes.
type tables struct {
	literals  [1<<literalBits + 144<<(longest-literalBits)]entry
	distances [1<<distanceBits + 16<<(longest-distanceBits)]entry
	codes     [1 << codeBits]entry
}

// fixed makes the tables that every decoder knows.
func (t *tables) fixed() {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	build(t.literals[:], literalBits, lengths[:], literalSymbol)
	var distances [32]uint8
	for i := range distances {
		distances[i] = 5
	}
	build(t.distances[:], distanceBits, distances[:], distanceSymbol)
}

// build fills a table for the code in which symbol i has lengths[i] bits, 0 for symbols that do not
// occur. It is false if that is no code. As compress/flate has it, a code may be empty, or a single
// symbol of one bit.
func build(table []entry, mainBits uint, lengths []uint8, symbol func(int) entry) bool {
	var count, next [longest + 1]int
	most := uint(0)
	for _, n := range lengths {
		count[n]++
		most = max(most, uint(n))
	}
	count[0] = 0
	for i := range table[:1<<mainBits] {
		table[i] = invalid | exceptional | 1<<codeShift | 1
	}
	if most == 0 {
		return true
	}
	code := 0
	for n := uint(1); n <= most; n++ {
		code <<= 1
		next[n] = code
		code += count[n]
	}
	if code != 1<<most && !(code == 1 && most == 1) {
		return false
	}
	free := 1 << mainBits
	for i, length := range lengths {
		n := uint(length)
		if n == 0 {
			continue
		}
		at := int(bits.Reverse16(uint16(next[n])) >> (16 - n)) //nolint:gosec // fifteen bits at most
		next[n]++
		e := symbol(i) + entry(length) | entry(length)<<codeShift
		if n <= mainBits {
			for ; at < 1<<mainBits; at += 1 << n {
				table[at] = e
			}
			continue
		}
		below := most - mainBits
		main := at & (1<<mainBits - 1)
		if table[main]&subtable == 0 {
			table[main] = exceptional | subtable | entry(mainBits) | entry(below)<<codeShift | entry(free)<<valueShift //nolint:gosec // a few thousand
			free += 1 << below
		}
		start := int(table[main] >> valueShift)
		for at >>= mainBits; at < 1<<below; at += 1 << (n - mainBits) {
			table[start+at] = e
		}
	}
	return true
}

func plainSymbol(i int) entry { return entry(i) << valueShift } //nolint:gosec // at most 18

var (
	lengthBase = [...]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51,
		59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthBits = [...]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4,
		5, 5, 5, 5, 0}
	distBase = [...]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385,
		513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
		8193, 12289, 16385, 24577}
	distBits = [...]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10,
		11, 11, 12, 12, 13, 13}
)

func literalSymbol(i int) entry {
	switch {
	case i < 256:
		return literal | entry(i)<<valueShift //nolint:gosec // a byte
	case i == 256:
		return exceptional | end
	case i-257 < len(lengthBase):
		return entry(lengthBase[i-257])<<valueShift | entry(lengthBits[i-257])
	default:
		return exceptional | invalid
	}
}

func distanceSymbol(i int) entry {
	if i < len(distBase) {
		return entry(distBase[i])<<valueShift | entry(distBits[i])
	}
	return exceptional | invalid
}
