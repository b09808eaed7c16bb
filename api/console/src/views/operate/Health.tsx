/** Whether the deployment does its work now. */
import { Answer, Table, usePolled } from "./parts";

interface Check {
  name: string;
  ok: boolean;
  message: string;
}

/** Read /statusz, which answers 503 with the same body when something is wrong. */
async function findHealth(): Promise<{ ok: boolean; checks: Check[] }> {
  const response = await fetch("/statusz", { credentials: "same-origin", cache: "no-store" });
  const body = await response.json();
  if (!Array.isArray(body.checks)) throw new Error(body.detail ?? `The server answered ${response.status}. Try again.`);
  return body as { ok: boolean; checks: Check[] };
}

export function Health() {
  const asked = usePolled(findHealth);
  return (
    <>
      <h1>Health</h1>
      <Answer asked={asked}>
        {({ ok, checks }) => (
          <>
            <p class={ok ? "quiet" : "error"} role="status">
              {ok ? "The deployment does its work." : "Something is wrong: see below what, and what to do."}
            </p>
            <Table head={["Part", "State", "Details"]} label="Checks">
              {checks.map((check) => (
                <tr key={check.name + check.message}>
                  <td>{check.name}</td>
                  <td>
                    <span class={`badge ${check.ok ? "completed" : "failed"}`}>{check.ok ? "well" : "wrong"}</span>
                  </td>
                  <td class="wide">{check.message}</td>
                </tr>
              ))}
            </Table>
          </>
        )}
      </Answer>
    </>
  );
}
