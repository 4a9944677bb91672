package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	mostProofs = 100 // of a log; a larger one is proved in equal steps
	proofMagic = "c2sp.org/tlog-proof@v1"
)

// hashes are all hashes of a tree in the order of tlog.StoredHashIndex.
type hashes []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(h)) {
			return nil, fmt.Errorf("there is no hash %d", index)
		}
		found[i] = h[index]
	}
	return found, nil
}

// diskTiles gives tiles to tlog.TileHashReader, which believes none that does not lead to the signed root.
type diskTiles struct {
	folder string
	read   map[tlog.Tile][]byte
}

// Height implements tlog.TileReader.
func (d *diskTiles) Height() int { return tileHeight }

// ReadTiles implements tlog.TileReader.
func (d *diskTiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, known := d.read[tile]
		if !known {
			var err error
			if data, err = readTile(d.folder, tile); err != nil {
				return nil, err
			}
			d.read[tile] = data
		}
		found[i] = data
	}
	return found, nil
}

// SaveTiles implements tlog.TileReader.
func (d *diskTiles) SaveTiles([]tlog.Tile, [][]byte) {}

// tilePath is where C2SP tlog-tiles has a tile: as Go's checksum database, without the height, which is always 8.
func tilePath(tile tlog.Tile) string {
	return "tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
}

// bundlePath is where C2SP tlog-tiles has the entries of a tile.
func bundlePath(tile tlog.Tile) string {
	tile.L = 0
	return "tile/entries/" + strings.TrimPrefix(tile.Path(), "tile/8/0/")
}

// readWide returns the file of a tile, or of the full one where the partial one is gone (C2SP tlog-tiles), and the
// width of what it read.
func readWide(folder string, tile tlog.Tile, path func(tlog.Tile) string) ([]byte, int, error) {
	data, err := os.ReadFile(folder + "/" + path(tile))
	if errors.Is(err, fs.ErrNotExist) && tile.W < tileWidth {
		tile.W = tileWidth
		data, err = os.ReadFile(folder + "/" + path(tile))
	}
	return data, tile.W, err
}

func readTile(folder string, tile tlog.Tile) ([]byte, error) {
	data, width, err := readWide(folder, tile, tilePath)
	if err != nil {
		return nil, err
	}
	if len(data) != width*tlog.HashSize {
		return nil, fmt.Errorf("%s has %d bytes", tilePath(tile), len(data))
	}
	return data[:tile.W*tlog.HashSize], nil
}

// readBundle returns the entries that a bundle has in a tree of that size.
func readBundle(folder string, index, size int64) ([][]byte, error) {
	tile := tlog.Tile{H: tileHeight, L: 0, N: index, W: tileWidth}
	if left := size - index*tileWidth; left < tileWidth {
		tile.W = int(left)
	}
	data, width, err := readWide(folder, tile, bundlePath)
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("%s is cut in entry %d", bundlePath(tile), len(entries))
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:end])
		data = data[end:]
	}
	if len(entries) != width {
		return nil, fmt.Errorf("%s has %d entries", bundlePath(tile), len(entries))
	}
	return entries[:tile.W], nil
}

func openCheckpoint(path, key string) (tlog.Tree, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	return parseCheckpoint(raw, key)
}

// parseCheckpoint returns the tree that a key signed for the log of its name (C2SP tlog-checkpoint).
func parseCheckpoint(raw []byte, key string) (tlog.Tree, error) {
	var none tlog.Tree
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return none, err
	}
	opened, err := note.Open(raw, note.VerifierList(verifier))
	if err != nil {
		return none, err
	}
	for _, signature := range opened.Sigs {
		// The library takes an encoding with stray bits after its end; a file must not have two ways to be right.
		if _, err := base64.StdEncoding.Strict().DecodeString(signature.Base64); err != nil {
			return none, err
		}
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != verifier.Name() {
		return none, fmt.Errorf("the checkpoint is not one of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return none, fmt.Errorf("the checkpoint's size is %q", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return none, err
	}
	return tlog.Tree{N: size, Hash: root}, nil
}

func verifyProof(path, entryPath, key string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	entry, err := os.ReadFile(entryPath)
	if err != nil {
		return "", err
	}
	head, checkpoint, found := strings.Cut(string(raw), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 2 || lines[0] != proofMagic || !strings.HasPrefix(lines[1], "index ") {
		return "", fmt.Errorf("%s is not a proof", path)
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return "", err
	}
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return "", err
		}
		proof = append(proof, hash)
	}
	tree, err := parseCheckpoint([]byte(checkpoint), key)
	if err != nil {
		return "", err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return "", err
	}
	return fmt.Sprintf("ok entry %d of %d", index, tree.N), nil
}
