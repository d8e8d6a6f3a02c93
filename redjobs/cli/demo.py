"""`redjobs demo`"""

from __future__ import annotations

import click

from redjobs import demo


@click.command("demo")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Run the demo: a signup form that mails now and in three days.

    A web page, a worker and a mail server that keeps what it gets, until Ctrl-C. Needs the extra:
    pip install 'redjobs[demo]'

    \b
      redjobs demo
      REDJOBS_URL=redis://localhost PORT=9000 redjobs demo
    """
    ctx.exit(demo.main())
