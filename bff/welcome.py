"""The page at `/`: what this is, for whoever opens it in a browser. One file, nothing fetched, nothing of anybody's."""

from __future__ import annotations

from typing import Final

from bff.model import Answer

_HTML: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>bff-backoffice</title>
<style>
  :root { color-scheme: light dark; --ink: #1d2733; --soft: #5b6b7b; --line: #d8dee6; --paper: #fbfaf7; --sea: #0b6b7a }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e7ecf1; --soft: #9fb0c0; --line: #2c3946; --paper: #12181f; --sea: #5cc3d1 }
  }
  body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.6 system-ui, sans-serif }
  main { max-width: 38rem; margin: 0 auto; padding: 4rem 1.5rem }
  h1 { font-size: 1.9rem; line-height: 1.25; margin: 0 0 1rem; letter-spacing: -.01em }
  p { margin: 0 0 1.2rem } a { color: var(--sea) }
  table { width: 100%; border-collapse: collapse; margin: 1.8rem 0; font-size: .94rem }
  th { text-align: left; font-weight: 600; padding: .5rem 1rem .5rem 0; white-space: nowrap; vertical-align: top }
  td { padding: .5rem 0; color: var(--soft) } tr { border-top: 1px solid var(--line) }
  code { font: .92em ui-monospace, monospace } footer { color: var(--soft); font-size: .88rem }
</style>
<main>
  <h1>A hotel desk’s one online door</h1>
  <p>This server speaks to the desktops of a hotel’s front desk. It signs devices in, shows them the day in fourteen
  widgets, and answers in time whatever breaks behind it. What is missing, it says; what is not yours, it keeps.</p>
  <table>
    <tr><th>Sign in<td><code>POST /v1/session</code>, with a DPoP proof by the device’s own key (RFC 9449)
    <tr><th>The day<td><code>GET /v1/dashboard?propertyId=…</code>, a 200 within 800&nbsp;ms
    <tr><th>Refusals<td>problem documents (RFC 9457), with a code and whether trying again makes sense
    <tr><th>All of it<td><a href="/openapi.json"><code>/openapi.json</code></a>, OpenAPI 3.1
  </table>
  <footer>There is nothing to click here: desktops are the ones who knock.</footer>
</main>
</html>
"""

PAGE: Final = Answer(
    200,
    _HTML.encode(),
    "text/html; charset=utf-8",
    (("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),),
)
