import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.HexFormat;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * Runs a file of SQL statements, each ended by ; at a line's end, on a cluster inside this process. The change rows of a
 * SELECT go to stdout, one a line: their kind, then each value in base64 ("-" for NULL), bytes as \x and hex digits.
 */
public class FlinkJob {
  public static void main(String[] args) throws Exception {
    Configuration settings = new Configuration();
    settings.setString("taskmanager.memory.network.max", "64m");
    settings.setString("table.local-time-zone", "UTC");
    StreamTableEnvironment sql =
        StreamTableEnvironment.create(StreamExecutionEnvironment.createLocalEnvironment(1, settings));
    for (String statement : Files.readString(Path.of(args[0])).split(";\\s*(\\n|$)")) {
      if (statement.isBlank()) continue;
      if (!statement.stripLeading().startsWith("SELECT")) {
        sql.executeSql(statement);
        continue;
      }
      try (CloseableIterator<Row> rows = sql.executeSql(statement).collect()) {
        while (rows.hasNext()) System.out.println(line(rows.next()));
      }
    }
    System.out.flush();
    System.exit(0);
  }

  private static String line(Row row) {
    StringBuilder line = new StringBuilder(row.getKind().shortString());
    for (int i = 0; i < row.getArity(); i++) line.append(' ').append(text(row.getField(i)));
    return line.toString();
  }

  private static String text(Object value) {
    if (value == null) return "-";
    String text = value instanceof byte[] bytes ? "\\x" + HexFormat.of().formatHex(bytes) : value.toString();
    // An empty text too is more than nothing on the line.
    return "'" + Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
  }
}
