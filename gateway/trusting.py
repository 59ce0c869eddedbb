"""`plantpulse-gateway trust`: a person approves the certificate of an OPC UA server, once, by its fingerprint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.terminal import address_of, await_or_fail, failing, print_json, tell

if TYPE_CHECKING:
    from collectors.opcua.security.approvals import Approvals
    from collectors.opcua.security.certificates import Certificate
    from collectors.opcua.security.own import OwnCertificate
    from collectors.opcua.trust import Presented

OptionalConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="工厂文件，从中得知数据文件夹 / the plant's file, which names the data folder"),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="网关数据文件夹（含证书），默认 plantpulse-data / the gateway's data folder, with its certificates",
    ),
]


def data_dir_of(config: Path | None, data_dir: Path | None, as_json: bool) -> Path:
    """The data folder that a command works on: as said, or the plant's file's, or the default one."""
    from gateway.config import DEFAULT_DATA_DIR, load_data_dir

    if data_dir is not None:
        return data_dir
    if config is None:
        return DEFAULT_DATA_DIR
    with failing(as_json):
        return load_data_dir(config)


def trust(
    address: Annotated[
        str,
        typer.Argument(help="OPC UA 地址；不写：显示网关证书和已认可的服务器 / address; without: what there is"),
    ] = "",
    config: OptionalConfigOption = None,
    data_dir: DataDirOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="不再询问，直接认可 / approve without asking")] = False,
    fingerprint: Annotated[
        str, typer.Option(help="只认可这个 SHA-256 指纹 / approve only this SHA-256 fingerprint")
    ] = "",
    forget: Annotated[bool, typer.Option("--forget", help="取消认可 / withdraw the approval")] = False,
    renew: Annotated[
        bool, typer.Option("--renew", help="为网关生成新证书 / make a new certificate for the gateway itself")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="以 JSON 输出 / print JSON")] = False,
) -> None:
    """认可 OPC UA 服务器的证书 / Approve the certificate of an OPC UA server."""
    from collectors.opcua.security.approvals import Approvals
    from gateway.clock import TimeLine

    if (renew and (address or forget or yes or fingerprint)) or (forget and not address) or (yes and fingerprint):
        raise typer.BadParameter("这些选项不能一起用 / these options do not go together")
    folder = data_dir_of(config, data_dir, as_json) / "opcua"
    approvals = Approvals(folder)
    if not address:
        _overview(approvals, folder, renew, as_json)
        return
    if not address_of(address).startswith("opc.tcp://"):
        raise typer.BadParameter("trust 只用于 opc.tcp:// 地址 / trust is for opc.tcp:// addresses only")
    if forget:
        _forget(approvals, address, as_json)
        return
    from collectors.opcua.trust import present

    clock = TimeLine()
    shown = await_or_fail(present(address, folder, clock), as_json)
    if not as_json:
        _show(shown)
    approved = shown.is_approved or _agreed(shown, yes, fingerprint, as_json)
    if fingerprint and _digits(fingerprint) != _digits(shown.certificate.fingerprint):
        approved = False
    if approved and not shown.is_approved:
        with failing(as_json):
            approvals.approve(address, shown.certificate, clock())
    if as_json:
        print_json(_as_json(shown, approved))
    else:
        _conclude(shown, approved, fingerprint, approvals.file)
    raise typer.Exit(0 if approved else 1)


def _agreed(shown: Presented, yes: bool, fingerprint: str, as_json: bool) -> bool:
    if fingerprint:
        return _digits(fingerprint) == _digits(shown.certificate.fingerprint)
    if yes:
        return True
    if as_json or not sys.stdin.isatty():
        return False
    return typer.confirm(
        "指纹与机器上显示的一致，认可吗？/ Is it the fingerprint that the machine shows, and approved?"
    )


def _digits(fingerprint: str) -> str:
    return "".join(c for c in fingerprint.upper().removeprefix("SHA256:") if c not in ": -")


def _show(shown: Presented) -> None:
    offered = ", ".join(o.name for o in shown.found.secured)
    typer.echo(f"{shown.address}\n  加密方式 / secured by  {offered}\n服务器证书 / the server's certificate")
    _show_certificate(shown.certificate)
    if shown.approved is not None and shown.is_changed:
        typer.echo(
            "！证书变了 / THE CERTIFICATE HAS CHANGED\n"
            f"  原来认可 / approved before  {shown.approved.fingerprint}  {shown.approved.subject}\n"
            f"  现在 / now                  {shown.certificate.fingerprint}"
        )
    for remark in shown.remarks:
        tell(remark)
    _show_own(shown.own)


def _show_certificate(certificate: Certificate) -> None:
    lines = (
        ("指纹 SHA-256", certificate.fingerprint),
        ("指纹 SHA-1", certificate.thumbprint),
        ("主体 subject", certificate.subject),
        ("签发 issuer", certificate.issuer),
        ("有效期 validity", certificate.validity),
        ("主机 hosts", ", ".join(certificate.hosts) or "-"),
        ("应用 URI", ", ".join(certificate.application_uris) or "-"),
        ("密钥 key", f"RSA {certificate.key_bits}" if certificate.key_bits else "-"),
    )
    for name, value in lines:
        typer.echo(f"  {name}  {value}")


def _show_own(own: OwnCertificate) -> None:
    typer.echo(
        f"网关证书（在机器上信任它）/ the gateway's certificate, to be trusted on the machine\n  {own.file}\n"
        f"  指纹 SHA-1  {own.shown.thumbprint}\n  应用 URI  {own.application_uri}\n"
        f"  有效期 validity  {own.shown.validity}"
    )


def _conclude(shown: Presented, approved: bool, fingerprint: str, file: Path) -> None:
    if approved:
        typer.echo(f"已认可，记在 {file.absolute()}。/ approved; noted in {file.absolute()}.")
    elif fingerprint:
        typer.echo("指纹不符，没有认可。/ another fingerprint: not approved.", err=True)
    else:
        typer.echo(
            "没有认可。核对指纹后，用 --fingerprint 写出它再运行一次。/ not approved. Compare the fingerprint, then"
            f" run again with --fingerprint {shown.certificate.fingerprint}",
            err=True,
        )


def _forget(approvals: Approvals, address: str, as_json: bool) -> None:
    with failing(as_json):
        known = approvals.forget(address)
    if as_json:
        print_json({"address": address, "forgotten": known})
    else:
        typer.echo("已取消认可。/ withdrawn." if known else "没有认可过这个地址。/ this address was not approved.")
    raise typer.Exit(0 if known else 1)


def _overview(approvals: Approvals, folder: Path, renewed: bool, as_json: bool) -> None:
    from collectors.opcua.security.certificates import day
    from collectors.opcua.security.own import load_or_make, renew
    from gateway.clock import TimeLine

    with failing(as_json):
        own = (renew if renewed else load_or_make)(folder, TimeLine()())
        listed = approvals.listed()
    if as_json:
        servers = {
            address: {"fingerprint": a.fingerprint, "subject": a.subject, "valid_to": day(a.valid_to_ns)}
            for address, a in listed.items()
        }
        print_json({"own_certificate": _own_json(own), "approved": servers})
        return
    _show_own(own)
    for address, approval in listed.items():
        typer.echo(f"{address}  {approval.fingerprint}  {approval.subject}  – {day(approval.valid_to_ns)}")
    if renewed:
        typer.echo("请重启网关，并在各台机器上信任新证书。/ restart the gateway, trust the new one on each machine.")


def _as_json(shown: Presented, approved: bool) -> dict[str, Any]:
    from collectors.opcua.security.certificates import day

    certificate = shown.certificate
    before = shown.approved
    return {
        "address": shown.address,
        "approved": approved,
        "changed": shown.is_changed,
        "certificate": {
            "fingerprint": certificate.fingerprint,
            "thumbprint": certificate.thumbprint,
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "valid_from": day(certificate.valid_from_ns),
            "valid_to": day(certificate.valid_to_ns),
            "hosts": list(certificate.hosts),
            "application_uris": list(certificate.application_uris),
            "key_bits": certificate.key_bits,
        },
        "approved_before": {"fingerprint": before.fingerprint, "subject": before.subject} if before else None,
        "offers": [o.name for o in shown.found.offers],
        "remarks": [{"code": r.code, "zh": r.zh, "en": r.en} for r in shown.remarks],
        "own_certificate": _own_json(shown.own),
    }


def _own_json(own: OwnCertificate) -> dict[str, Any]:
    from collectors.opcua.security.certificates import day

    return {
        "file": str(own.file),
        "thumbprint": own.shown.thumbprint,
        "fingerprint": own.shown.fingerprint,
        "application_uri": own.application_uri,
        "valid_to": day(own.shown.valid_to_ns),
    }
