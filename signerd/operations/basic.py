"""What is answered on both sockets: hello, describe, check."""

from protocol import fields, messages
from protocol.errors import ErrorCode, Refused
from protocol.messages import PROTOCOL_VERSION
from signerd import issuance
from signerd.authority import Authority
from signerd.issuance import Asker


def answer_hello(authority: Authority, request: messages.HelloRequest, asker: Asker, now: int) -> messages.HelloReply:
    if request.version != PROTOCOL_VERSION:
        raise Refused(ErrorCode.BAD_REQUEST, f"this signer speaks version {PROTOCOL_VERSION} of the protocol")
    return messages.HelloReply(version=PROTOCOL_VERSION)


def answer_describe(
    authority: Authority, request: messages.DescribeRequest, asker: Asker, now: int
) -> messages.DescribeReply:
    policy = authority.policy
    return messages.DescribeReply(
        state=authority.state(now),
        chain=authority.chain,
        profiles=tuple(
            fields.ProfileDescription(
                name=profile.name,
                lifetime=profile.lifetime,
                lifetime_max=profile.lifetime_max,
                key_types=tuple(sorted(profile.key_types)),
            )
            for profile in policy.profiles.values()
        ),
        base_url=policy.signer.base_url,
        csr_bytes_max=fields.CSR_BYTES_MAX,
        names_max=fields.NAMES_MAX,
    )


def answer_check(authority: Authority, request: messages.CheckRequest, asker: Asker, now: int) -> messages.CheckReply:
    if not asker.is_operator:
        authority.checks.take(request.client, now)
    return issuance.check(authority, request, asker, now)
