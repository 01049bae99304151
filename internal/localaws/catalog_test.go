package localaws

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A catalog is compared with a plain list while both go through the same random changes.
func TestCatalogAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var c catalog[int]
	var model []string
	pageAll := func(newestFirst bool) (all []string) {
		p := paging{limit: 3, newestFirst: newestFirst}
		for {
			p.after = c.page(p, func(name string, _ int) bool { all = append(all, name); return true })
			if p.after == 0 {
				return all
			}
		}
	}
	for range 2000 {
		name := fmt.Sprint(random.IntN(60))
		if i := slices.Index(model, name); i >= 0 {
			c.remove(name)
			model = slices.Delete(model, i, i+1)
		} else if random.IntN(3) > 0 {
			c.put(name, 0)
			model = append(model, name)
		}
		require.Equal(t, len(model), c.size())
		require.Equal(t, slices.Contains(model, "7"), c.has("7"))
		if random.IntN(20) == 0 {
			require.Equal(t, model, pageAll(false)[:len(model):len(model)])
			reversed := slices.Clone(model)
			slices.Reverse(reversed)
			require.Equal(t, reversed, pageAll(true)[:len(model):len(model)])
		}
	}
}
