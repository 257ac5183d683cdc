"""Products with one mode of a tensor are sums over that index, and Kronecker products on its entries."""

from __future__ import annotations

import torch

from metabench.algo.mode_product import mode_product


def test_each_mode_is_its_sum_and_all_of_them_a_kronecker_product():
    torch.manual_seed(0)
    w = torch.randn(5, 2, 3, 4).double()
    a, b, c = (torch.randn(out, size).double() for out, size in ((3, 2), (3, 3), (2, 4)))
    torch.testing.assert_close(mode_product(w, a, 1), torch.einsum("ij,tjkl->tikl", a, w))
    torch.testing.assert_close(mode_product(w, b, 2), torch.einsum("ij,tkjl->tkil", b, w))
    torch.testing.assert_close(mode_product(w, c, 3), torch.einsum("ij,tklj->tkli", c, w))
    every = mode_product(mode_product(mode_product(w, c, 3), b, 2), a, 1)
    matrix = torch.kron(torch.kron(a, b), c)
    torch.testing.assert_close(every.flatten(1), w.flatten(1) @ matrix.mT)


def test_the_only_mode_of_a_bias_is_its_first():
    torch.manual_seed(0)
    bias, a = torch.randn(5, 3).double(), torch.randn(2, 3).double()
    torch.testing.assert_close(mode_product(bias, a, 1), bias @ a.mT)
