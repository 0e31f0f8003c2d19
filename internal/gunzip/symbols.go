package gunzip

import "encoding/binary"

// symbols decodes what a block with codes says, until the output is full or the block is over.
func (z *Reader) symbols() error {
	for z.w < outSize {
		if z.pos+8 <= len(z.in) {
			if over, err := z.fast(); over || err != nil {
				return err
			}
			continue
		}
		if over, err := z.one(); over || err != nil {
			return err
		}
	}
	return nil
}

// fast decodes while there are eight bytes to refill from. A round takes at most 48 bits for a
// match, or 45 for three literals, of the 56 that there are after a refill. It is one function with
// no calls in its loop, because the state has to stay in registers.
func (z *Reader) fast() (over bool, err error) {
	in, out := z.in, z.out
	pos, w, bits, n := z.pos, z.w, z.bits, z.n
	literals, distances := &z.tables.literals, &z.tables.distances
	for w < outSize && pos+8 <= len(in) {
		bits |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56
		e := literals[bits&(1<<literalBits-1)]
		if e&literal != 0 {
			bits, n = bits>>(e&totalMask), n-uint(e&totalMask)
			out[w] = byte(e >> valueShift) //nolint:gosec // the flag above it is cut off
			w++
			e = literals[bits&(1<<literalBits-1)]
			if e&literal != 0 {
				bits, n = bits>>(e&totalMask), n-uint(e&totalMask)
				out[w] = byte(e >> valueShift) //nolint:gosec // as above
				w++
				e = literals[bits&(1<<literalBits-1)]
				if e&literal != 0 {
					bits, n = bits>>(e&totalMask), n-uint(e&totalMask)
					out[w] = byte(e >> valueShift) //nolint:gosec // as above
					w++
					continue
				}
			}
			if pos+8 > len(in) {
				break
			}
			bits |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
			pos += int((63 - n) >> 3)
			n |= 56
		}
		if e&exceptional != 0 {
			if e&subtable != 0 {
				e = literals[uint64(e>>valueShift)+bits>>literalBits&(1<<(e>>codeShift&codeMask)-1)]
			}
			if e&literal != 0 {
				bits, n = bits>>(e&totalMask), n-uint(e&totalMask)
				out[w] = byte(e >> valueShift) //nolint:gosec // as above
				w++
				continue
			}
			if e&exceptional != 0 {
				bits, n = bits>>(e&totalMask), n-uint(e&totalMask)
				z.pos, z.w, z.bits, z.n = pos, w, bits, n
				return true, z.special(e)
			}
		}
		length := int(e>>valueShift) +
			int(bits&(1<<(e&totalMask)-1)>>(e>>codeShift&codeMask)) //nolint:gosec // at most 258
		bits, n = bits>>(e&totalMask), n-uint(e&totalMask)
		d := distances[bits&(1<<distanceBits-1)]
		if d&exceptional != 0 {
			if d&subtable != 0 {
				d = distances[uint64(d>>valueShift)+bits>>distanceBits&(1<<(d>>codeShift&codeMask)-1)]
			}
			if d&exceptional != 0 {
				return true, corrupt("a distance that stands for nothing")
			}
		}
		distance := int(d>>valueShift) +
			int(bits&(1<<(d&totalMask)-1)>>(d>>codeShift&codeMask)) //nolint:gosec // at most 32768
		bits, n = bits>>(d&totalMask), n-uint(d&totalMask)
		from := w - distance
		if from < z.low {
			return true, corrupt("a match before the start")
		}
		to := w + length
		switch {
		case distance >= 8:
			// Goes up to seven bytes too far; they are written over.
			for w < to {
				binary.LittleEndian.PutUint64(out[w:], binary.LittleEndian.Uint64(out[from:]))
				w, from = w+8, from+8
			}
		default:
			for w < to {
				out[w] = out[from]
				w, from = w+1, from+1
			}
		}
		w = to
	}
	z.pos, z.w, z.bits, z.n = pos, w, bits, n
	return false, nil
}

// special ends the block, or refuses it.
func (z *Reader) special(e entry) error {
	if e&invalid != 0 {
		return corrupt("a code that stands for nothing")
	}
	z.state = (*Reader).block
	return nil
}

// one decodes one symbol with care for the end of the input.
func (z *Reader) one() (over bool, err error) {
	e, err := z.symbol(z.tables.literals[:], literalBits)
	if err != nil {
		return true, err
	}
	if e&literal != 0 {
		z.out[z.w] = byte(z.value(e)) //nolint:gosec // a byte
		z.w++
		return false, nil
	}
	if e&exceptional != 0 {
		z.value(e)
		return true, z.special(e)
	}
	length := z.value(e)
	d, err := z.symbol(z.tables.distances[:], distanceBits)
	if err != nil {
		return true, err
	}
	distance := z.value(d)
	if z.w-distance < z.low {
		return true, corrupt("a match before the start")
	}
	for range length {
		z.out[z.w] = z.out[z.w-distance]
		z.w++
	}
	return false, nil
}

// symbol finds the entry for what comes next, and reads until all of its bits are there. The bits
// that are not there yet may lead to a wrong entry, but never to one that needs no more bits than
// there are.
func (z *Reader) symbol(table []entry, mainBits uint) (entry, error) {
	for {
		e := table[z.bits&(1<<mainBits-1)]
		if e&subtable != 0 {
			e = table[uint64(e>>valueShift)+z.bits>>mainBits&(1<<(e>>codeShift&codeMask)-1)]
		}
		if uint(e&totalMask) <= z.n {
			if e&invalid != 0 {
				return 0, corrupt("a code that stands for nothing")
			}
			return e, nil
		}
		if err := z.need(z.n + 1); err != nil {
			return 0, err
		}
	}
}

// value takes the bits of a symbol and says what it means.
func (z *Reader) value(e entry) int {
	total, code := uint(e&totalMask), uint(e>>codeShift&codeMask)
	v := int(e&^literal>>valueShift) + int(z.bits&(1<<total-1)>>code) //nolint:gosec // at most 32768
	z.bits >>= total
	z.n -= total
	return v
}
