"""Downloads, by torchvision itself, from a server of this process."""

import gzip
import hashlib
import io
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from image_folders import noise, settings

from bop2ndorder.study.data import open_data, prepare

CLASSES = ["ant", "cat"]
NOWHERE = "http://127.0.0.1:9/none.tgz"  # port 9, "discard": nothing listens


def left(folder):
    """Files in a folder but for locks, which may stay."""
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


def archive(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def md5(content):
    return hashlib.md5(content).hexdigest()


def cifar10_files():
    """Six training images in two batches, and four test images, in CIFAR-10's own format."""
    random = np.random.RandomState(0)
    files = {"batches.meta": pickle.dumps({"label_names": CLASSES})}
    for name, labels in {
        "data_batch_1": [0, 1, 0],
        "data_batch_2": [1, 1, 0],
        "test_batch": [1, 0, 0, 1],
    }.items():
        data = random.randint(0, 256, (len(labels), 3072), dtype=np.uint8)
        files[name] = pickle.dumps({"data": data, "labels": labels})
    return files


@pytest.fixture
def server():
    """Serves `contents[path]`, no more than `cut` bytes of it, or garbage; counts the requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.requests += 1
            content = server.contents[self.path]
            if server.garbage:
                self.wfile.write(b"garbage\r\n\r\n")
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: server.cut])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.contents, server.cut, server.garbage, server.requests = {}, None, False, 0
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cifar10(server, monkeypatch):
    from torchvision.datasets import CIFAR10

    files = cifar10_files()
    content = archive({f"{CIFAR10.base_folder}/{name}": data for name, data in files.items()})
    server.contents["/cifar10.tgz"] = content
    sums = [[name, md5(data)] for name, data in files.items() if "batch_" in name]
    monkeypatch.setattr(CIFAR10, "url", f"{server.url}/cifar10.tgz")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(content))
    monkeypatch.setattr(CIFAR10, "train_list", sums)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(files["test_batch"])]])
    meta = {**CIFAR10.meta, "md5": md5(files["batches.meta"])}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return server


@pytest.fixture
def imagenette(server, monkeypatch):
    from torchvision.datasets import Imagenette

    files = {}
    for part, count in (("train", 4), ("val", 2)):
        for name in ("n01440764", "n02102040"):
            for number in range(count):
                stream = io.BytesIO()
                noise(number, 20, 16).save(stream, "JPEG")
                files[f"imagenette2-160/{part}/{name}/{number}.JPEG"] = stream.getvalue()
    content = archive(files)
    server.contents["/imagenette2-160.tgz"] = content
    entry = (f"{server.url}/imagenette2-160.tgz", md5(content))
    monkeypatch.setattr(Imagenette, "_ARCHIVES", {"160px": entry})
    return server


def run(tmp_path, source, **changes):
    prepare(settings(source, validation=2, **changes), tmp_path / "out", progress=False)
    return open_data(tmp_path / "out")


def test_cifar10_arrives_pixel_by_pixel_and_is_fetched_once(tmp_path, cifar10):
    data = run(tmp_path, "cifar10", image_size=32)
    assert (data.origin, data.classes) == ("download", CLASSES)
    assert (data.count("all"), data.count("test")) == (6, 4)
    stored = pickle.loads(cifar10_files()["test_batch"])
    expected = stored["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert (np.load(data.path / "test_images.npy") == expected).all()
    assert np.load(data.path / "test_labels.npy").tolist() == stored["labels"]

    requests = cifar10.requests
    assert run(tmp_path, "cifar10", image_size=16).image_size == 16
    assert cifar10.requests == requests > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".download", "out"]


def test_two_data_sets_of_one_source_fetch_it_once(tmp_path, cifar10):
    """Snakemake prepares them at the same time, in one folder."""

    def prepared(name):
        prepare(settings("cifar10", validation=2), tmp_path / "two" / name, progress=False)
        return open_data(tmp_path / "two" / name).count("test")

    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(prepared, ("a", "b"))] == [4, 4]
    requests = cifar10.requests
    run(tmp_path, "cifar10")
    assert cifar10.requests == 2 * requests


def test_imagenette_arrives_and_is_fetched_once(tmp_path, imagenette):
    data = run(tmp_path, "imagenette")
    assert (data.origin, data.classes) == ("download", ["n01440764", "n02102040"])
    assert (data.count("all"), data.count("test")) == (8, 4)
    requests = imagenette.requests
    run(tmp_path, "imagenette", image_size=16)
    assert imagenette.requests == requests > 0


@pytest.mark.parametrize("source", ["cifar10", "imagenette"])
@pytest.mark.parametrize("cut", [0, 700])
def test_an_interrupted_download_is_found_leaves_nothing_and_can_be_repeated(
    tmp_path, request, source, cut
):
    server = request.getfixturevalue(source)
    server.cut = cut
    with pytest.raises(RuntimeError, match=f"{source} could not be downloaded"):
        run(tmp_path, source)
    assert left(tmp_path) == []
    assert not (tmp_path / "out").exists()
    server.cut = None
    assert run(tmp_path, source).count("test") == 4


def test_a_server_that_answers_garbage_is_a_failed_download(tmp_path, cifar10):
    cifar10.garbage = True
    with pytest.raises(RuntimeError, match="cifar10 could not be downloaded"):
        run(tmp_path, "cifar10")


@pytest.mark.parametrize("spoil", [lambda content: content[:-900], lambda _: gzip.compress(b"?")])
def test_an_unpacking_that_fails_leaves_nothing(tmp_path, imagenette, monkeypatch, spoil):
    from torchvision.datasets import Imagenette

    content = spoil(imagenette.contents["/imagenette2-160.tgz"])
    imagenette.contents["/imagenette2-160.tgz"] = content
    entry = (f"{imagenette.url}/imagenette2-160.tgz", md5(content))
    monkeypatch.setattr(Imagenette, "_ARCHIVES", {"160px": entry})
    with pytest.raises(RuntimeError, match="imagenette could not be downloaded"):
        run(tmp_path, "imagenette")
    assert left(tmp_path) == []


def test_a_kept_download_that_was_damaged_is_named(tmp_path, cifar10):
    run(tmp_path, "cifar10")
    batch = tmp_path / ".download" / "cifar10" / "cifar-10-batches-py" / "data_batch_2"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(RuntimeError, match=r"\.download/cifar10 is damaged: remove that folder"):
        run(tmp_path, "cifar10")


@pytest.mark.parametrize("source", ["cifar10", "imagenette"])
def test_without_internet_one_sentence_says_what_to_do(tmp_path, monkeypatch, source):
    from torchvision.datasets import CIFAR10, Imagenette

    monkeypatch.setattr(CIFAR10, "url", NOWHERE)
    monkeypatch.setattr(Imagenette, "_ARCHIVES", {"160px": (NOWHERE, "0")})
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path, source)
    message = str(caught.value)
    assert f"{source} could not be downloaded (" in message and "\n" not in message
    assert f"set `local: {{{source}: FOLDER}}` in params.yaml" in message
    assert caught.value.__suppress_context__  # no traceback of torchvision's
    assert left(tmp_path) == []
