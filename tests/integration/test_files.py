"""Files through the SDK and a gateway: sealed here or there, opened by either flavour, rewrapped by their header."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kmsgw.client import AsyncClient, Client, StreamSummary
from kmsgw.envelope.format import STREAM_HEAD_BYTES, Suite, parse_envelope
from kmsgw.errors import AccessDenied, DecryptionFailed, EnvelopeMalformed
from tests.support.gateway import Gateway, eventually

CONTEXT = {"patient": "P-1001"}
SIZE = 5 * (1 << 20) + 17


@pytest.fixture(scope="module")
def holder(gateway: Gateway) -> Client:
    """Who may have data keys, and open what the gateway sealed too."""
    return gateway.client("ehr-datakeys", purpose="care")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain"
    path.write_bytes(b"".join(number.to_bytes(4) for number in range(SIZE // 4)) + b"e")
    return path


def suite_of(path: Path) -> Suite:
    with path.open("rb") as file:
        return parse_envelope(file.read(STREAM_HEAD_BYTES), payload_optional=True).suite


def test_a_file_is_sealed_here_and_opened_here_and_by_the_gateway(
    gateway: Gateway, holder: Client, plain: Path, tmp_path: Path
) -> None:
    seen: list[int] = []
    made = holder.encrypt_file("ehr", plain, tmp_path / "sealed", CONTEXT, progress=seen.append)
    sealed, size = tmp_path / "sealed", plain.stat().st_size
    assert (made.plaintext_bytes, made.stream_bytes, made.key_id) == (size, sealed.stat().st_size, "ehr")
    assert (sum(seen), suite_of(sealed)) == (size, Suite.CLIENT_STREAM)
    opened = holder.decrypt_file(sealed, tmp_path / "opened", CONTEXT)
    assert (tmp_path / "opened").read_bytes() == plain.read_bytes()
    assert (opened.plaintext_bytes, opened.stream_bytes) == (size, sealed.stat().st_size)
    reader = gateway.client("ehr-reader", purpose="care")
    with sealed.open("rb") as file:
        assert b"".join(reader.decrypt_stream(file, CONTEXT)) == plain.read_bytes()


def test_what_the_gateway_sealed_is_opened_through_it(gateway: Gateway, plain: Path, tmp_path: Path) -> None:
    writer, reader = gateway.client("ehr-writer"), gateway.client("ehr-reader", purpose="care")
    with plain.open("rb") as source, (tmp_path / "sealed").open("wb") as target:
        target.writelines(writer.encrypt_stream("ehr", source, CONTEXT))
    assert suite_of(tmp_path / "sealed") is Suite.GATEWAY_STREAM
    opened = reader.decrypt_file(tmp_path / "sealed", tmp_path / "opened", CONTEXT)
    assert (tmp_path / "opened").read_bytes() == plain.read_bytes()
    assert opened.plaintext_bytes == plain.stat().st_size
    (tmp_path / "small").write_bytes(writer.encrypt("ehr", b"one piece", CONTEXT).envelope)
    reader.decrypt_file(tmp_path / "small", tmp_path / "opened", CONTEXT)
    assert (tmp_path / "opened").read_bytes() == b"one piece"


def test_nothing_has_the_name_of_a_file_that_is_not_authentic(holder: Client, plain: Path, tmp_path: Path) -> None:
    holder.encrypt_file("ehr", plain, tmp_path / "sealed", CONTEXT)
    whole = (tmp_path / "sealed").read_bytes()
    segment = (1 << 20) + 16
    for name, changed in {
        "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
        "cut": whole[:-1],
        "cut at a segment's end": whole[: -(len(whole) % segment)] if len(whole) % segment else whole[:-segment],
        "lengthened": whole + b"\0",
    }.items():
        (tmp_path / "changed").write_bytes(changed)
        with pytest.raises(DecryptionFailed):
            holder.decrypt_file(tmp_path / "changed", tmp_path / "opened", CONTEXT)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["changed", "plain", "sealed"], name
    with pytest.raises(DecryptionFailed):
        holder.decrypt_file(tmp_path / "sealed", tmp_path / "opened", {"patient": "P-1002"})
    with pytest.raises(DecryptionFailed):
        holder.decrypt_file(tmp_path / "sealed", tmp_path / "opened", CONTEXT, expected_key="another")
    with pytest.raises(EnvelopeMalformed):
        holder.decrypt_file(plain, tmp_path / "opened", CONTEXT)
    assert not (tmp_path / "opened").exists()


def test_file_objects_are_read_and_written_where_they_stand(holder: Client, tmp_path: Path) -> None:
    sealed, opened = io.BytesIO(b"before"), io.BytesIO()
    sealed.seek(6)
    holder.encrypt_file("ehr", io.BytesIO(b"small"), sealed, CONTEXT)
    sealed.seek(6)
    holder.decrypt_file(sealed, opened, CONTEXT)
    assert opened.getvalue() == b"small"


def test_policy_decides_on_data_keys(gateway: Gateway, plain: Path, tmp_path: Path) -> None:
    with pytest.raises(AccessDenied):
        gateway.client("ehr-writer").encrypt_file("ehr", plain, tmp_path / "sealed")
    assert not (tmp_path / "sealed").exists()


def test_a_file_is_rewrapped_by_its_header(gateway: Gateway, holder: Client, plain: Path, tmp_path: Path) -> None:
    officer = gateway.client("key-officer").keys
    officer.create("filed")
    sealed = tmp_path / "sealed"
    holder.encrypt_file("filed", plain, sealed, CONTEXT)
    before = sealed.read_bytes()
    rewrapper = gateway.client("rewrap-job")
    assert not rewrapper.rewrap_file(sealed, CONTEXT).changed
    officer.rotate("filed")
    # Another worker sees the rotation a moment later.
    assert eventually(lambda: rewrapper.rewrap_file(sealed, CONTEXT).changed)
    header = len(rewrapper.rewrap_file(sealed, CONTEXT).envelope)
    assert sealed.read_bytes()[header:] == before[header:]
    holder.decrypt_file(sealed, tmp_path / "opened", CONTEXT)
    assert (tmp_path / "opened").read_bytes() == plain.read_bytes()


def test_asyncio_does_the_same(gateway: Gateway, plain: Path, tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            await asyncio.sleep(0)
            yield bytes(10_000)

    async def work() -> StreamSummary:
        async with (
            AsyncClient(gateway.address, gateway.credentials("ehr-datakeys"), purpose="care") as holder,
            AsyncClient(gateway.address, gateway.credentials("ehr-writer")) as writer,
        ):
            await holder.encrypt_file("ehr", plain, tmp_path / "sealed", CONTEXT)
            await holder.decrypt_file(tmp_path / "sealed", tmp_path / "opened", CONTEXT)
            talk = writer.encrypt_stream("ehr", pieces(), CONTEXT)
            stream = b"".join([chunk async for chunk in talk])
            (tmp_path / "streamed").write_bytes(stream)
            await holder.decrypt_file(tmp_path / "streamed", tmp_path / "zeros", CONTEXT)
            with pytest.raises(DecryptionFailed):
                [chunk async for chunk in holder.decrypt_stream([stream[:-1]], CONTEXT)]
            with pytest.raises(AccessDenied):
                [chunk async for chunk in writer.decrypt_stream([stream], CONTEXT)]
            return talk.summary

    summary = asyncio.run(work())
    assert (tmp_path / "opened").read_bytes() == plain.read_bytes()
    assert (tmp_path / "zeros").read_bytes() == bytes(300_000)
    assert summary.plaintext_bytes == 300_000


def test_asyncio_raises_a_fault_of_the_source_and_ends_a_cancelled_file(
    gateway: Gateway, plain: Path, tmp_path: Path
) -> None:
    async def faulty() -> AsyncIterator[bytes]:
        yield b"some"
        raise OSError("the disk is gone")

    async def work() -> None:
        async with AsyncClient(gateway.address, gateway.credentials("ehr-datakeys")) as holder:
            async with AsyncClient(gateway.address, gateway.credentials("ehr-writer")) as writer:
                with pytest.raises(OSError, match="the disk is gone"):
                    [chunk async for chunk in writer.encrypt_stream("ehr", faulty())]
            task = asyncio.ensure_future(holder.encrypt_file("ehr", plain, tmp_path / "sealed"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(work())
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]
