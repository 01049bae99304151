package localaws

import "sort"

// indexFrom is the size from which a catalog is searched through an index: most hold one or two entries,
// by the hundred thousand.
const indexFrom = 8

// catalog holds values by name and in the order of their making, so that a page of a list costs no more than
// its own length however many there are.
type catalog[V any] struct {
	entries []entry[V]
	index   map[string]int // name → place in entries; nil while small
	last    uint64
	gone    int
}

type entry[V any] struct {
	number uint64 // ascending and never reused: what a page token names
	name   string
	value  V
	gone   bool
}

func (c *catalog[V]) size() int { return len(c.entries) - c.gone }

func (c *catalog[V]) find(name string) (int, bool) {
	if c.index != nil {
		i, ok := c.index[name]
		return i, ok
	}
	for i := range c.entries {
		if e := &c.entries[i]; !e.gone && e.name == name {
			return i, true
		}
	}
	return 0, false
}

func (c *catalog[V]) get(name string) (V, bool) {
	if i, ok := c.find(name); ok {
		return c.entries[i].value, true
	}
	var none V
	return none, false
}

func (c *catalog[V]) has(name string) bool {
	_, ok := c.find(name)
	return ok
}

// put adds a value under a name that is not there yet.
func (c *catalog[V]) put(name string, value V) {
	c.last++
	c.entries = append(c.entries, entry[V]{number: c.last, name: name, value: value})
	if c.index != nil {
		c.index[name] = len(c.entries) - 1
	} else if len(c.entries) > indexFrom {
		c.reindex()
	}
}

func (c *catalog[V]) remove(name string) {
	i, ok := c.find(name)
	if !ok {
		return
	}
	c.entries[i] = entry[V]{number: c.entries[i].number, gone: true}
	c.gone++
	if c.index != nil {
		delete(c.index, name)
	}
	if c.gone > indexFrom && c.gone > len(c.entries)/2 {
		c.compact()
	}
}

func (c *catalog[V]) compact() {
	kept := make([]entry[V], 0, c.size())
	for _, e := range c.entries {
		if !e.gone {
			kept = append(kept, e)
		}
	}
	c.entries, c.gone = kept, 0
	if c.index != nil {
		c.reindex()
	}
}

func (c *catalog[V]) reindex() {
	c.index = make(map[string]int, len(c.entries))
	for i := range c.entries {
		if !c.entries[i].gone {
			c.index[c.entries[i].name] = i
		}
	}
}

// all calls visit for every value, oldest first, until it returns false.
func (c *catalog[V]) all(visit func(name string, value V) bool) {
	for i := range c.entries {
		if e := &c.entries[i]; !e.gone && !visit(e.name, e.value) {
			return
		}
	}
}

// page calls visit for the values past the token, oldest or newest first, until limit of them were taken, and
// returns the token of the next page, 0 at the end. visit reports whether it took the value.
func (c *catalog[V]) page(p paging, visit func(name string, value V) bool) (next uint64) {
	step, i := 1, 0
	if p.newestFirst {
		step, i = -1, len(c.entries)-1
	}
	if p.after > 0 {
		i = sort.Search(len(c.entries), func(i int) bool { return c.entries[i].number >= p.after })
		if p.newestFirst {
			i--
		} else if i < len(c.entries) && c.entries[i].number == p.after {
			i++
		}
	}
	taken, last := 0, uint64(0)
	for ; i >= 0 && i < len(c.entries); i += step {
		e := &c.entries[i]
		if e.gone {
			continue
		}
		if taken == p.limit {
			return last
		}
		if visit(e.name, e.value) {
			taken++
		}
		last = e.number
	}
	return 0
}
