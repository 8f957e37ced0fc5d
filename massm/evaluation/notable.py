"""Which cases to look at: the best and the worst."""

from massm.evaluation.summary import Row

BEST_AND_WORST = ('best', 'worst')


def notable_cases(rows: list[Row], key: str = 'local_rmse_mm') -> dict[str, str]:
    """``best`` and ``worst`` subject id by the mean of ``key`` over its anatomies; empty where
    nothing was measured."""
    errors: dict[str, list[float]] = {}
    for row in rows:
        if key in row:
            errors.setdefault(row['id'], []).append(row[key])
    return _ends({case: sum(values) / len(values) for case, values in errors.items()})


def notable_shapes(rows: list[Row], key: str = 's2s_mask_mm') -> dict[str, dict[str, str]]:
    """Per anatomy its ``best`` and ``worst`` subject id by ``key``."""
    names = list(dict.fromkeys(row['anatomy'] for row in rows if key in row))
    return {
        name: _ends({r['id']: r[key] for r in rows if r['anatomy'] == name and key in r})
        for name in names
    }


def _ends(errors: dict[str, float]) -> dict[str, str]:
    order = sorted(errors, key=lambda case: errors[case])
    return dict(zip(BEST_AND_WORST, (order[0], order[-1]), strict=True)) if order else {}
