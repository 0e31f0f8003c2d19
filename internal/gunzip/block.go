package gunzip

// block reads the header of the next block, or ends the member after the last one.
func (z *Reader) block() error {
	if z.final {
		z.final, z.state = false, nil
		return nil
	}
	if err := z.need(3); err != nil {
		return err
	}
	z.final = z.take(1) == 1
	switch z.take(2) {
	case 0:
		return z.beginStored()
	case 1:
		z.tables.fixed()
		z.state = (*Reader).symbols
	case 2:
		if err := z.dynamic(); err != nil {
			return err
		}
		z.state = (*Reader).symbols
	default:
		return corrupt("a block of an unknown kind")
	}
	return nil
}

func (z *Reader) beginStored() error {
	z.align()
	var h [4]byte
	for i := range h {
		var err error
		if h[i], err = z.byte(); err != nil {
			return err
		}
	}
	n, check := int(h[0])|int(h[1])<<8, int(h[2])|int(h[3])<<8
	if n != ^check&0xffff {
		return corrupt("the length of a stored block is wrong")
	}
	z.stored, z.state = n, (*Reader).copyStored
	return nil
}

func (z *Reader) copyStored() error {
	for z.stored > 0 && z.w < outSize {
		if z.pos == len(z.in) && !z.more() {
			return z.early()
		}
		n := copy(z.out[z.w:min(outSize, z.w+z.stored)], z.in[z.pos:])
		z.pos, z.w, z.stored = z.pos+n, z.w+n, z.stored-n
	}
	if z.stored == 0 {
		z.state = (*Reader).block
	}
	return nil
}

// order is the order in which the lengths of the codes for code lengths come.
var order = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

const (
	maxLiterals  = 286
	maxDistances = 30
)

// dynamic reads the codes of a block.
func (z *Reader) dynamic() error {
	if err := z.need(14); err != nil {
		return err
	}
	literals, distances, codes := int(z.take(5))+257, int(z.take(5))+1, int(z.take(4))+4 //nolint:gosec // a few bits
	if literals > maxLiterals || distances > maxDistances {
		return corrupt("too many codes")
	}
	var lengths [maxLiterals + maxDistances]uint8
	var first [len(order)]uint8
	for _, at := range order[:codes] {
		if err := z.need(3); err != nil {
			return err
		}
		first[at] = uint8(z.take(3)) //nolint:gosec // three bits
	}
	if !build(z.tables.codes[:], codeBits, first[:], plainSymbol) {
		return corrupt("the code of the code lengths is wrong")
	}
	total := literals + distances
	for i := 0; i < total; {
		symbol, err := z.codeLength()
		if err != nil {
			return err
		}
		if symbol < 16 {
			lengths[i] = symbol
			i++
			continue
		}
		var value uint8
		var extra, repeat uint = 3, 3
		switch symbol {
		case 16:
			if i == 0 {
				return corrupt("a repeated code length without a first one")
			}
			value, extra = lengths[i-1], 2 //nolint:gosec // i is at least 1 here
		case 18:
			extra, repeat = 7, 11
		}
		if err := z.need(extra); err != nil {
			return err
		}
		count := int(repeat) + int(z.take(extra)) //nolint:gosec // a few bits
		if i+count > total {
			return corrupt("more code lengths than codes")
		}
		for range count {
			lengths[i] = value
			i++
		}
	}
	if !build(z.tables.literals[:], literalBits, lengths[:literals], literalSymbol) ||
		!build(z.tables.distances[:], distanceBits, lengths[literals:total], distanceSymbol) {
		return corrupt("a code is wrong")
	}
	return nil
}

func (z *Reader) codeLength() (uint8, error) {
	e, err := z.symbol(z.tables.codes[:], codeBits)
	if err != nil {
		return 0, err
	}
	return uint8(z.value(e)), nil //nolint:gosec // at most 18
}
