import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;

/**
 * Decodes events by the schema that wrote them, found in the registry by the ID in each event. Confluent's
 * KafkaAvroDeserializer does the same; it is not on Maven Central, and the format is five bytes.
 */
final class EventDecoder {
    private static final int MAGIC = 0;
    private static final int HEADER = 5;

    private final HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();
    private final ObjectMapper json = new ObjectMapper();
    private final String registry;
    private final GenericData model = new GenericData();
    private final Map<Integer, GenericDatumReader<GenericRecord>> readers = new HashMap<>();

    EventDecoder(String registry) {
        this.registry = registry;
        // Without these two a decimal is a ByteBuffer, and a timestamp a long.
        model.addLogicalTypeConversion(new Conversions.DecimalConversion());
        model.addLogicalTypeConversion(new TimeConversions.TimestampMillisConversion());
    }

    /** The event in a message: amounts are BigDecimal with four places, times Instant. */
    GenericRecord decode(byte[] message) throws IOException, InterruptedException {
        ByteBuffer header = ByteBuffer.wrap(message);
        if (message.length < HEADER || header.get() != MAGIC) {
            throw new IOException("the message does not begin with the ID of a schema");
        }
        var datum = DecoderFactory.get().binaryDecoder(message, HEADER, message.length - HEADER, null);
        return reader(header.getInt()).read(null, datum);
    }

    private GenericDatumReader<GenericRecord> reader(int id) throws IOException, InterruptedException {
        GenericDatumReader<GenericRecord> reader = readers.get(id);
        if (reader == null) {
            Schema writer = schema(id);
            reader = new GenericDatumReader<>(writer, writer, model);
            readers.put(id, reader);
        }
        return reader;
    }

    private Schema schema(int id) throws IOException, InterruptedException {
        URI uri = URI.create(registry + "/schemas/ids/" + id);
        HttpRequest request = HttpRequest.newBuilder(uri).timeout(Duration.ofSeconds(10)).build();
        HttpResponse<String> response = http.send(request, HttpResponse.BodyHandlers.ofString());
        if (response.statusCode() != 200) {
            throw new IOException("the registry answers " + response.statusCode() + " for the schema " + id);
        }
        return new Schema.Parser().parse(json.readTree(response.body()).get("schema").asText());
    }
}
