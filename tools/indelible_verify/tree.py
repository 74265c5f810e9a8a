"""The tree (RFC 6962, 2.1)."""

from __future__ import annotations

from typing import Callable, List, Optional, Tuple

from .common import Malformed
from .hashes import node_hash, sha256


class Frontier:
    """A Merkle tree that grows at its right edge, in memory for the edge only."""

    def __init__(self, on_node: Optional[Callable[[int, bytes], None]] = None) -> None:
        self.size = 0
        self._nodes: List[Tuple[int, bytes]] = []  # (height, root), heights falling
        self._on_node = on_node

    def add(self, node: bytes, height: int = 0) -> None:
        """Append the root of a complete subtree of 2**height leaves."""
        if self.size & (1 << height) - 1:
            raise Malformed("a subtree that is not aligned")
        self.size += 1 << height
        nodes = self._nodes
        while nodes and nodes[-1][0] == height:
            node = node_hash(nodes.pop()[1], node)
            height += 1
            if self._on_node is not None and not height & 7:
                self._on_node(height, node)
        nodes.append((height, node))

    def root(self) -> bytes:
        """The root over all leaves so far; of the empty tree, the hash of nothing."""
        if not self._nodes:
            return sha256(b"")
        root = self._nodes[-1][1]
        for _, left in reversed(self._nodes[:-1]):
            root = node_hash(left, root)
        return root


def subtree_heights(first: int, end: int) -> List[int]:
    """Heights of the largest aligned subtrees that tile the leaves [first, end), left to right."""
    heights = []
    while first < end:
        height = (end - first).bit_length() - 1
        while first & (1 << height) - 1:
            height -= 1
        heights.append(height)
        first += 1 << height
    return heights


def root_from_inclusion(leaf: bytes, index: int, size: int, path: List[bytes]) -> bytes:
    """The root to which an inclusion proof leads (RFC 9162, 2.1.3.2)."""
    if index >= size:
        raise Malformed("the index lies outside the tree")
    fn, sn, root = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            raise Malformed("the proof is too long")
        if fn & 1 or fn == sn:
            root = node_hash(sibling, root)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = node_hash(root, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise Malformed("the proof is too short")
    return root
