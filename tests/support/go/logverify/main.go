// Logverify verifies audit logs with a library that kmsgw has no part in: golang.org/x/mod/sumdb, of Go's checksum
// database. It reads requests from standard input, one a line, fields separated by tabs, and answers each with one
// line that begins with "ok" or "fail".
//
//	log <folder> <verifier key>                              signature, every entry, every tile, proofs of all of it
//	proof <proof file> <entry file> <verifier key>           an entry's inclusion (C2SP tlog-proof)
//	extends <folder> <verifier key> <older checkpoint file>  the log begins with what an older checkpoint says
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		answer, err := obey(strings.Split(input.Text(), "\t"))
		if err != nil {
			answer = "fail " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(answer)
	}
	if err := input.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func obey(words []string) (string, error) {
	switch {
	case len(words) == 3 && words[0] == "log":
		return verifyLog(words[1], words[2])
	case len(words) == 4 && words[0] == "proof":
		return verifyProof(words[1], words[2], words[3])
	case len(words) == 4 && words[0] == "extends":
		return verifyExtension(words[1], words[2], words[3])
	}
	return "", fmt.Errorf("not a request: %q", words)
}

// verifyLog checks everything that the tree of the newest checkpoint is made of.
func verifyLog(folder, key string) (string, error) {
	tree, err := openCheckpoint(folder+"/checkpoint", key)
	if err != nil {
		return "", err
	}
	entries, stored, err := readEntries(folder, tree.N)
	if err != nil {
		return "", err
	}
	root, err := treeHash(tree.N, stored)
	if err != nil {
		return "", err
	}
	if root != tree.Hash {
		return "", fmt.Errorf("the entries have the root %v, and %v is signed", root, tree.Hash)
	}
	tiles, err := compareTiles(folder, tree.N, stored)
	if err != nil {
		return "", err
	}
	if err := proveAll(folder, tree, entries, stored); err != nil {
		return "", err
	}
	return fmt.Sprintf("ok %d entries, %d tiles, root %v", tree.N, tiles, tree.Hash), nil
}

// treeHash is the root of a tree; of one without entries that of RFC 6962, which the library has otherwise.
func treeHash(size int64, stored hashes) (tlog.Hash, error) {
	if size == 0 {
		return sha256.Sum256(nil), nil
	}
	return tlog.TreeHash(size, stored)
}

// readEntries reads every bundle and returns its entries and all hashes over them, in the library's own storage order.
func readEntries(folder string, size int64) ([][]byte, hashes, error) {
	var entries [][]byte
	var stored hashes
	for index := int64(0); index*tileWidth < size; index++ {
		bundle, err := readBundle(folder, index, size)
		if err != nil {
			return nil, nil, err
		}
		for _, entry := range bundle {
			more, err := tlog.StoredHashes(int64(len(entries)), entry, stored)
			if err != nil {
				return nil, nil, err
			}
			stored = append(stored, more...)
			entries = append(entries, entry)
		}
	}
	return entries, stored, nil
}

// compareTiles compares each hash tile on disk with the one that the entries make.
func compareTiles(folder string, size int64, stored hashes) (int, error) {
	tiles := 0
	all := tlog.NewTiles(tileHeight, 0, size)
	for i, tile := range all {
		if i+1 < len(all) && all[i+1].L == tile.L && all[i+1].N == tile.N {
			continue // a wider one follows, as the library names every width that a tile ever had
		}
		tiles++
		want, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return 0, err
		}
		got, err := readTile(folder, tile)
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(want, got) {
			return 0, fmt.Errorf("%s is not the tile of the entries below it", tilePath(tile))
		}
	}
	return tiles, nil
}

// proveAll makes proofs from the tiles alone and checks them: that each entry is in the tree, and that the tree begins
// with every tree that it was before (of a large log: with some of them).
func proveAll(folder string, tree tlog.Tree, entries [][]byte, stored hashes) error {
	reader := tlog.TileHashReader(tree, &diskTiles{folder: folder, read: map[tlog.Tile][]byte{}})
	step := int64(1) + tree.N/mostProofs
	for n := int64(0); n < tree.N; n += step {
		proof, err := tlog.ProveRecord(tree.N, n, reader)
		if err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, n, tlog.RecordHash(entries[n])); err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
		old, err := tlog.TreeHash(n+1, stored)
		if err != nil {
			return err
		}
		earlier, err := tlog.ProveTree(tree.N, n+1, reader)
		if err != nil {
			return fmt.Errorf("the tree of %d entries: %w", n+1, err)
		}
		if err := tlog.CheckTree(earlier, tree.N, tree.Hash, n+1, old); err != nil {
			return fmt.Errorf("the tree of %d entries: %w", n+1, err)
		}
	}
	return nil
}

func verifyExtension(folder, key, kept string) (string, error) {
	tree, err := openCheckpoint(folder+"/checkpoint", key)
	if err != nil {
		return "", err
	}
	old, err := openCheckpoint(kept, key)
	if err != nil {
		return "", err
	}
	if old.N > tree.N {
		return "", fmt.Errorf("the log had %d entries and has %d", old.N, tree.N)
	}
	if old.N == 0 {
		return fmt.Sprintf("ok %d entries extend none", tree.N), nil
	}
	reader := tlog.TileHashReader(tree, &diskTiles{folder: folder, read: map[tlog.Tile][]byte{}})
	proof, err := tlog.ProveTree(tree.N, old.N, reader)
	if err != nil {
		return "", err
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return "", err
	}
	return fmt.Sprintf("ok %d entries extend %d", tree.N, old.N), nil
}
