"""Data that tests write to files, and writers of every format."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import dump_svmlight_file

N, D = 700, 6
RNG = np.random.default_rng(0)
X = np.round(1024 * RNG.standard_normal((N, D))) / 1024 * (RNG.random((N, D)) < 0.7)  # few digits, for text files
X[0, -1] = X[-1, 0] = 1.5  # no column is empty
NAMES = [f"c{j}" for j in range(D)]


def write_npy(file, x):
    np.save(file, x)


def write_fortran(file, x):
    np.save(file, np.asfortranarray(x))


def write_big_endian(file, x):
    np.save(file, x.astype(">f8"))


def write_npz(file, x):
    scipy.sparse.save_npz(file, scipy.sparse.csr_array(x))


def write_stored_npz(file, x):
    scipy.sparse.save_npz(file, scipy.sparse.csr_array(x), compressed=False)


def write_csv(file, x):
    np.savetxt(file, x, delimiter=",", header=",".join(NAMES[: x.shape[1]]), comments="", fmt="%.17g")


def write_tsv(file, x):
    np.savetxt(file, x, delimiter="\t", fmt="%.17g")


def write_svm(file, x):
    dump_svmlight_file(x, np.arange(len(x)), str(file), zero_based=False)


def write_zero_based(file, x):
    dump_svmlight_file(x, np.arange(len(x)), str(file), zero_based=True)


def write_parquet(file, x):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    pyarrow.parquet.write_table(pyarrow.table(dict(zip(NAMES, x.T, strict=False))), file, row_group_size=130)


def write_hdf5(file, x):
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as store:
        store.create_dataset("group/x", data=x, chunks=(90, 2))


def write_zarr(file, x):
    zarr = pytest.importorskip("zarr")
    zarr.save(str(file), x)


WRITERS = {
    "x.npy": write_npy,
    "fortran.npy": write_fortran,
    "big.npy": write_big_endian,
    "x.npz": write_npz,
    "stored.npz": write_stored_npz,
    "x.csv": write_csv,
    "x.tsv": write_tsv,
    "x.svm": write_svm,
    "zero.svmlight": write_zero_based,
    "x.parquet": write_parquet,
    "x.h5": write_hdf5,
    "x.zarr": write_zarr,
}


def dense(blocks):
    return np.concatenate([block.toarray() if scipy.sparse.issparse(block) else block for block in blocks])


def parts(folder, arrays, ending=".npy", write=write_npy):
    folder.mkdir()
    for k, array in enumerate(arrays):
        write(folder / f"part-{k:02d}{ending}", array)
    return folder


def save_text(file, text):
    file.write_text(text, encoding="utf-8")
    return file
