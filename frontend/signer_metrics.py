"""What the signer says of itself, as Prometheus wants it. While it does not answer there is its state alone: what is
not known is left out, lest it looks as if it stood still."""

from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric

from protocol.fields import Distribution
from protocol.messages import MetricsReply

STATES = ("ready", "frozen", "unavailable")


def signer_metrics(reply: MetricsReply | None) -> Iterator[Metric]:
    """The families; None: the signer does not answer."""
    now = "unavailable" if reply is None else reply.state
    states = {state: float(state == now) for state in dict.fromkeys((*STATES, now))}
    yield _labelled("signerd_signer_state", "1 for the state that the signer is in, else 0.", "state", states)
    if reply is not None:
        yield from _facts(reply)
        yield from _quotas(reply)
        yield from _times(reply)


def _facts(reply: MetricsReply) -> Iterator[Metric]:
    yield _gauge("signerd_ca_not_after_timestamp_seconds", "When the CA's certificate ends.", reply.issuer_not_after)
    states = reply.certificates
    yield _labelled("signerd_certificates", "Certificates on the ledger, but for pruned ones.", "state", states)
    if reply.crl_this_update is not None and reply.crl_next_update is not None:
        first = "of the current CRL that runs out first."
        yield _gauge("signerd_crl_this_update_timestamp_seconds", f"thisUpdate {first}", reply.crl_this_update)
        yield _gauge("signerd_crl_next_update_timestamp_seconds", f"nextUpdate {first}", reply.crl_next_update)
    yield _gauge("signerd_ledger_entries", "Entries of the ledger.", reply.entries)
    yield _gauge("signerd_ledger_bytes", "Size of the ledger's file.", reply.ledger_bytes)


def _quotas(reply: MetricsReply) -> Iterator[Metric]:
    """Those that hold for more than one client: client ids are no labels."""
    for name, what, values in (
        ("used", "Used up of a quota in its window", {one.quota: one.used for one in reply.quotas}),
        ("limit", "What a quota allows in its window", {one.quota: one.limit for one in reply.quotas}),
        ("window_seconds", "How long a quota's window is", {one.quota: one.seconds for one in reply.quotas}),
    ):
        yield _labelled(f"signerd_quota_{name}", f"{what}.", "quota", values)


def _times(reply: MetricsReply) -> Iterator[Metric]:
    batches = HistogramMetricFamily("signerd_batch_certificates", "Certificates that were recorded together.")
    _add(batches, [], reply.batches, unit=1)
    commits = HistogramMetricFamily("signerd_commit_seconds", "Until the ledger's fsync returned.")
    _add(commits, [], reply.commits, unit=1_000_000)
    answers = HistogramMetricFamily(
        "signerd_answer_seconds", "In the signer, from a request's arrival to its reply.", labels=["operation"]
    )
    for one in reply.answers:
        _add(answers, [one.op], one.microseconds, unit=1_000_000)
    yield from (batches, commits, answers)


def _add(family: HistogramMetricFamily, labels: list[str], values: Distribution, unit: int) -> None:
    """``unit``: how many of the values' are one of the family's."""
    bounds = [*(str(bound / unit) for bound in values.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(values.counts), strict=True)), values.total / unit)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def _labelled(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
