-- Read one page of a thread's log: entries after an id, up to a number of entries, and no more once their frames
-- have so many bytes.
-- KEYS: the log. ARGV: the id, entries, bytes. Returns entries as XRANGE does.
local STEP = 10  -- entries read at once; a log has few large ones
local page, bytes, after = {}, 0, ARGV[1]
while #page < tonumber(ARGV[2]) and bytes < tonumber(ARGV[3]) do
  local rows = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', math.min(STEP, ARGV[2] - #page))
  if #rows == 0 then break end
  for _, row in ipairs(rows) do
    if bytes < tonumber(ARGV[3]) then
      page[#page + 1] = row
      for i = 1, #row[2], 2 do
        if row[2][i] == 'f' then bytes = bytes + #row[2][i + 1] end
      end
      after = row[1]
    end
  end
end
return page
